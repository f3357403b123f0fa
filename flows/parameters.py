"""params.yaml, parsed once, and a course and a preset with it: everything wrong is said before any work."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from flows.promotion import GateConfig
from tutee_evaluator.metrics import ReportConfig
from tutee_evaluator.rollout import RolloutConfig
from tutee_grader import GradeConfig
from tutee_grader.config import Section, describe_errors
from tutee_grader.errors import InputError
from tutee_serializer.course import Course
from tutee_serializer.dialogs.selection import SerializeConfig
from tutee_serializer.errors import CourseError
from tutee_serializer.ingest.ingest import IngestConfig
from tutee_trainer.pairs import PairsConfig
from tutee_trainer.preset import FOLDER, Preset, PresetError

FILE = Path("params.yaml")


class Parameters(Section):
    """The whole of params.yaml. `courses` maps a course's name to its file.

    Every section must be there, if only as `report: {}`: dvc.yaml says that stages depend on them.
    """

    courses: dict[str, str] = Field(min_length=1)
    preset: str
    ingest: IngestConfig
    grade: GradeConfig
    serialize: SerializeConfig
    pairs: PairsConfig
    rollout: RolloutConfig
    report: ReportConfig
    gate: GateConfig

    @classmethod
    def load(cls, file: Path = FILE) -> "Parameters":
        """Reads params.yaml; raises InputError with every problem at once."""
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(
                f"{file}: missing in {Path.cwd()}; run `tutee` in the folder that holds dvc.yaml too"
            ) from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"{file}: cannot be read as YAML: {error}") from error
        if not isinstance(values, dict):
            raise InputError(f"{file}: holds no `courses:` and `preset:`")
        # A section that is there with nothing in it (`report:`) has its defaults.
        sections = {name: {} if value is None else value for name, value in values.items()}
        try:
            return cls.model_validate(sections)
        except ValidationError as error:
            raise InputError("\n".join(f"{file}: {problem}" for problem in describe_errors(error))) from None


@dataclass(frozen=True)
class Setup:
    """What a command works with: a course, the parameters, and the preset they name."""

    course: Course
    parameters: Parameters
    preset: Preset


def load(course: str, preset: str | None = None, logs: bool = True) -> Setup:
    """Everything a stage of `course` (a name in params.yaml, or a course file) is told by files.

    `preset` takes the place of the one in params.yaml. `logs=False` leaves unchecked whether the log is
    there. Raises InputError with every problem of all the files at once.
    """
    problems: list[str] = []
    parameters: Parameters | None = None
    found: Course | None = None
    chosen: Preset | None = None
    try:
        parameters = Parameters.load()
    except InputError as error:
        problems.append(str(error))
    courses = parameters.courses if parameters else _courses()
    try:
        found = Course.load(courses.get(course, course), logs)
    except CourseError as error:
        hint = "" if Path(courses.get(course, course)).exists() else _known(courses)
        problems.append(f"{error}{hint}")
    else:
        problems += _unlisted(found, courses)
    name = preset or (parameters.preset if parameters else None)
    if name:
        try:
            chosen = Preset.load(name)
            problems += _absent(name)
        except PresetError as error:
            problems.append(str(error))
    if problems or not (parameters and found and chosen):
        raise InputError("\n".join(problems))
    return Setup(found, parameters, chosen)


def choose_preset(preset: str, file: Path = FILE) -> None:
    """Writes `preset: NAME` into params.yaml, leaving every other byte, so that `dvc repro` does the same."""
    text = file.read_text(encoding="utf-8")
    changed = re.sub(r"(?m)^(preset:[ \t]*)[^\s#]+", rf"\g<1>{preset}", text, count=1)
    if changed != text:
        file.write_text(changed, encoding="utf-8")


def _courses() -> dict[str, str]:
    """The courses of a params.yaml that has something wrong elsewhere, as far as they can be read."""
    try:
        values = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    courses = values.get("courses") if isinstance(values, dict) else None
    return courses if isinstance(courses, dict) else {}


def _known(courses: dict[str, str]) -> str:
    return f" (courses in {FILE}: {', '.join(courses)})" if courses else ""


def _absent(preset: str) -> list[str]:
    """Sections a preset may do without, but must name: dvc.yaml says that stages depend on them."""
    file = FOLDER / f"{preset}.yaml"
    there = yaml.safe_load(file.read_text(encoding="utf-8"))
    fields = [name for name in Preset.model_fields if name not in there and name != "name"]
    return [f"{file}: {name}: missing; add the line `{name}: null`" for name in fields]


def _unlisted(course: Course, courses: dict[str, str]) -> list[str]:
    listed = courses.get(course.name)
    if listed is None:
        return [
            f"{FILE}: {course.name} is not among `courses`; add this line below `courses:`\n"
            f"  {course.name}: {course.file}"
        ]
    if Path(listed).resolve() != course.file.resolve():
        return [
            f"{FILE}: `courses.{course.name}` is {listed}, but {course.file} calls itself {course.name} too; "
            "give one of the courses another name"
        ]
    return []

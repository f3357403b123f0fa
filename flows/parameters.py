"""params.yaml, parsed once, and a course and a preset with it: every problem is reported before any work."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import yaml
from pydantic import Field, PositiveInt, ValidationError, field_validator

from flows.gate import GateConfig
from flows.named import NamedStudent, check_names
from flows.places import Places, preset_file
from tutee_evaluator.engines import EngineConfig
from tutee_evaluator.engines.baselines import BASELINES
from tutee_evaluator.metrics import ReportConfig
from tutee_grader.config import Section, describe_errors
from tutee_grader.errors import InputError
from tutee_grader.table import GradeConfig
from tutee_serializer.course import Course
from tutee_serializer.dialogs.levels import BY_ARM
from tutee_serializer.dialogs.selection import SerializeConfig, check_split
from tutee_serializer.errors import CourseError
from tutee_serializer.ingest.ingest import IngestConfig
from tutee_trainer.method import Method, load_methods
from tutee_trainer.pairs import PairsConfig
from tutee_trainer.preset import Preset, PresetError

FILE = Path("params.yaml")


class Parameters(Section):
    """The whole of params.yaml. `courses` maps a course's name to its file.

    `presets` are those that a course can be retrained with, each apart from the others, and `preset` is the
    one that commands take where they are given none. `methods` are the training methods to compare, in the
    order of the report. `warm_start` is the number of a registered version whose adapter SFT begins from,
    such as last semester's champion. Other students that can be compared have a name in `students`. Every
    other section must be there, if only as `report: {}`: dvc.yaml says that stages depend on them.
    """

    courses: dict[str, str] = Field(min_length=1)
    presets: tuple[str, ...] = Field(min_length=1)
    preset: str
    methods: tuple[str, ...]
    warm_start: PositiveInt | None
    ingest: IngestConfig
    grade: GradeConfig
    serialize: SerializeConfig
    pairs: PairsConfig
    engine: EngineConfig
    report: ReportConfig
    gate: GateConfig
    students: dict[str, NamedStudent] = Field(default_factory=dict)

    @field_validator("students")
    @classmethod
    def _can_be_named(cls, students: dict[str, NamedStudent]) -> dict[str, NamedStudent]:
        check_names(students)
        return students

    @field_validator("methods")
    @classmethod
    def _are_known(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        known = load_methods()
        if unknown := [name for name in methods if name not in known]:
            raise ValueError(f"there is no method {', '.join(unknown)}; there are {', '.join(known)}")
        if "base" not in methods:
            raise ValueError("base is missing; every other method is trained on it and compared with it")
        return methods

    @property
    def adapters(self) -> tuple[str, ...]:
        """The methods that train an adapter."""
        return tuple(name for name in self.methods if load_methods()[name].start is not None)

    @property
    def compared(self) -> dict[str, str]:
        """All that is rolled out, with a description: the baselines, then the methods."""
        baselines = {name: str(engine.__doc__).splitlines()[0] for name, engine in BASELINES.items()}
        return baselines | {name: load_methods()[name].description for name in self.methods}

    @classmethod
    def load(cls, file: Path = FILE) -> Self:
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
        empty = {name for name in values if values[name] is None and name != "warm_start"}
        sections = {**values, **{name: {} for name in empty}}
        try:
            return cls.model_validate(sections)
        except ValidationError as error:
            raise InputError("\n".join(f"{file}: {problem}" for problem in describe_errors(error))) from None


@dataclass(frozen=True)
class Setup:
    """What a command works with: a course, the parameters, and the preset they name.

    Section `serialize` of the parameters is the course's, where the course file has keys of its own. Where
    the log is of an experiment with arms, the preset's dialogs say what each student was told.
    """

    course: Course
    parameters: Parameters
    preset: Preset

    @property
    def places(self) -> Places:
        """The files of the course and preset, below the folder that the command runs in."""
        return Places(self.course.name, self.preset.name)


def load(course: str, preset: str | None = None, logs: bool = True, assignments: bool = True) -> Setup:
    """The configuration of a stage of `course`, which is a name in params.yaml or a course file.

    `preset` takes the place of the one in params.yaml. `logs=False` leaves unchecked whether the log is
    there, `assignments=False` whether these are. Raises InputError with every problem of all the files at
    once.
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
        found = Course.load(courses.get(course, course), logs, assignments)
    except CourseError as error:
        hint = "" if Path(courses.get(course, course)).exists() else _known(courses)
        problems.append(f"{error}{hint}")
    else:
        problems += _unlisted(found, courses)
        try:
            serialize = _serialize(found, parameters)
        except CourseError as error:
            problems.append(str(error))
    name = preset or (parameters.preset if parameters else None)
    if name:
        try:
            chosen = Preset.load(preset_file(name))
            problems += _absent(name, parameters.methods if parameters else ())
            if parameters and name not in parameters.presets:
                problems.append(f"{FILE}: `presets`: {name} is missing; add it, and dvc.yaml has its stages")
        except PresetError as error:
            problems.append(str(error))
    if problems or not (parameters and found and chosen):
        raise InputError("\n".join(problems))
    if found.arms:
        dialog = chosen.dialog.model_copy(update={"feedback": BY_ARM})
        chosen = chosen.model_copy(update={"dialog": dialog})
    return Setup(found, parameters.model_copy(update={"serialize": serialize}), chosen)


def _serialize(course: Course, parameters: Parameters | None) -> SerializeConfig:
    """Section `serialize` of params.yaml, with the course file's own keys in place of those there."""
    general = parameters.serialize.model_dump() if parameters else {}
    try:
        config = SerializeConfig.model_validate({**general, **course.serialize})
    except ValidationError as error:
        problems = describe_errors(error)
        raise CourseError("\n".join(f"{course.file}: serialize: {problem}" for problem in problems)) from None
    check_split(course, config)
    return config


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


def _absent(preset: str, methods: tuple[str, ...]) -> list[str]:
    """What the preset lacks: keys that dvc.yaml names, if only as null, and the sections of `methods`."""
    file = preset_file(preset)
    present = yaml.safe_load(file.read_text(encoding="utf-8"))
    needed = ("model", "tokenizer", "base", "lora", "dialog", "rollout")
    problems = [
        f"{file}: `{name}`: missing; add the line `{name}: null`" for name in needed if name not in present
    ]
    sections = dict.fromkeys(load_methods()[name].section for name in methods)
    return problems + [
        f"{file}: `{name}`: missing, and `methods` of {FILE} asks for it; add the section"
        for name in sections
        if name not in present and name not in needed
    ]


def method_named(name: str) -> Method:
    """A row of the table of training methods; raises InputError, with all names there are, for another."""
    methods = load_methods()
    if name not in methods:
        raise InputError(f"method {name!r} is not one of {', '.join(methods)}")
    return methods[name]


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

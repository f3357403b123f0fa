"""A course file: all that is particular about one course, as data."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from tutee_grader.assignment import Assignment
from tutee_grader.config import describe_errors
from tutee_grader.errors import AssignmentError
from tutee_grader.feedback import Level
from tutee_serializer.errors import CourseError
from tutee_serializer.logs import FORMATS
from tutee_serializer.logs.config import DEMOGRAPHIC, ColumnsConfig, CourseSection, LogsConfig
from tutee_serializer.logs.staging import Log
from tutee_serializer.semesters import WITHIN_ONE, Semesters


class Simulator(CourseSection):
    """A program that writes the log of a synthetic class.

    With `arms`, levels of the grader's feedback, each student is given one of them, at random.
    """

    program: str
    seed: int = Field(ge=0)
    students: dict[str, Annotated[int, Field(gt=0)]] = Field(min_length=1)
    arms: tuple[Level, ...] = ()

    @field_validator("program")
    @classmethod
    def _exists(cls, program: str, info: ValidationInfo) -> str:
        folder = (info.context or {}).get("folder", Path())
        if not any((folder / name).exists() for name in (program, f"{program}.py")):
            raise ValueError(f"{folder / program} does not exist")
        return program


class Assignments(CourseSection):
    """The folder with one folder per assignment, and the form of its tests where these do not say."""

    path: str
    tests: Literal["calls", "asserts", "stdio", "falcon", "unittest"] | None = None

    @field_validator("path")
    @classmethod
    def _exists(cls, path: str, info: ValidationInfo) -> str:
        context = info.context or {}
        folder = context.get("folder", Path()) / path
        if context.get("log_brings_assignments") or not context.get("assignments", True):
            # The stage `source` writes them from the log, or a first look at the log comes before them.
            return path
        hint = "`tutee preview` works without, and lists the assignments of the log"
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder (relative paths start at the course file); {hint}")
        if not any(entry.is_dir() for entry in folder.iterdir()):
            raise ValueError(f"{folder} holds no folder of an assignment; {hint}")
        return path


class Course(CourseSection):
    """One course. `Course.load` reads it; `file` is where it was read from.

    `serialize` holds keys of SerializeConfig that replace those of params.yaml for this course. `topics` is a
    file of what a teacher says to a learner (`tutee learner`). `arms` are those of an experiment whose log
    this is, by the names in `columns.arm`: what the grader told the students of each.
    """

    file: Path
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    synthetic: bool = False
    simulator: Simulator | None = None
    logs: LogsConfig = Field(LogsConfig(), validate_default=True)
    semesters: Semesters
    columns: ColumnsConfig = Field(ColumnsConfig(), validate_default=True)
    assignments: Assignments
    topics: str | None = None
    serialize: dict[str, Any] = Field(default={})
    arms: dict[str, Level] = Field(default={})

    @field_validator("logs")
    @classmethod
    def _has_a_log(cls, logs: LogsConfig, info: ValidationInfo) -> LogsConfig:
        if logs.format not in FORMATS:
            raise ValueError(f"`format` is {logs.format!r}; there are {', '.join(FORMATS)}")
        if logs.path is None and "simulator" in info.data and info.data["simulator"] is None:
            raise ValueError("`path` is missing: the file, folder, glob or URL of the log")
        return logs

    @field_validator("columns")
    @classmethod
    def _has_columns(cls, columns: ColumnsConfig, info: ValidationInfo) -> ColumnsConfig:
        logs: LogsConfig | None = info.data.get("logs")
        semesters: Semesters | None = info.data.get("semesters")
        mapping = columns.mapping()
        problems = [
            f"`{name}: {column}` describes people; name such a column under `demographics` only"
            for name, names in mapping.items()
            for column in names
            if DEMOGRAPHIC.search(column)
        ]
        if logs is not None:
            known = {*mapping, *FORMATS[logs.format].fields}
            required = ("student", "assignment", "code")
            problems += [f"`{name}` is missing" for name in required if name not in known]
            named = logs.semester is not None or isinstance(logs.path, dict) or "semester" in known
            if not named and semesters is not None and semesters.split is None:
                problems.append(
                    "`semester` is missing: name a column, or let `logs.semester` say it (file_name, folder "
                    f"or start dates); a course without semesters is split by {WITHIN_ONE}"
                )
            if logs.semester is not None and "semester" in mapping:
                problems.append("`semester`: `logs.semester` names the semesters too; remove one of them")
            if not known & {"timestamp", "attempt"}:
                problems.append("`timestamp` or `attempt` is missing: one of them orders a student's work")
            elif "timestamp" not in known and isinstance(logs.semester, dict):
                problems.append("`timestamp` is missing, and the start dates of `logs.semester` need it")
            elif "timestamp" not in known and semesters is not None and semesters.split == "time":
                problems.append("`timestamp` is missing, and `semesters.split: time` needs it")
            if logs.kinds and "kind" not in known:
                problems.append("`kind` is missing, and `logs.kinds` needs it")
        if problems:
            raise ValueError("; ".join(problems))
        return columns

    @field_validator("arms")
    @classmethod
    def _has_arms(cls, arms: dict[str, Level], info: ValidationInfo) -> dict[str, Level]:
        columns: ColumnsConfig | None = info.data.get("columns")
        logs: LogsConfig | None = info.data.get("logs")
        if arms and columns and logs and "arm" not in {*columns.mapping(), *FORMATS[logs.format].fields}:
            raise ValueError("`columns.arm` is missing: the column that names each student's arm")
        return arms

    @classmethod
    def load(cls, path: str | Path, logs: bool = True, assignments: bool = True) -> "Course":
        """Reads a course file.

        `logs=False` leaves unchecked whether the log is there, for those who only need the assignments;
        `assignments=False` whether these are, for a first look at the log.
        Raises CourseError with every problem at once.
        """
        file = Path(path)
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CourseError(f"{file}: no such course file; see courses/demo/course.yaml for one") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise CourseError(f"{file}: cannot be read as YAML: {error}") from error
        if not isinstance(values, dict):
            raise CourseError(f"{file}: holds no `name:`, `logs:` and so on; see courses/demo/course.yaml")
        if "file" in values:
            raise CourseError(f"{file}: `file`: unknown key; remove it")
        section = values.get("logs")
        log_format = FORMATS.get(str(section.get("format"))) if isinstance(section, dict) else None
        context = {
            "folder": file.parent,
            "logs": logs and not values.get("simulator"),
            "assignments": assignments,
            "log_brings_assignments": log_format is not None and log_format.write_assignments is not None,
        }
        try:
            return cls.model_validate({**values, "file": file}, context=context)
        except ValidationError as error:
            raise CourseError("\n".join(f"{file}: {problem}" for problem in describe_errors(error))) from None

    @property
    def folder(self) -> Path:
        return self.file.parent

    def log(self, simulated: Path | None = None) -> Log:
        """The course's log; `simulated` is where its simulator writes it, if it has one."""
        one = self.name if self.semesters.split else None
        return Log(self.file, self.logs, self.columns, simulated if self.simulator else None, one)

    @property
    def topics_file(self) -> Path:
        """The file of topics; raises CourseError where there is none."""
        file = self.folder / (self.topics or "")
        if self.topics is None or not file.is_file():
            problem = "missing" if self.topics is None else f"{file} is not a file"
            raise CourseError(
                f"{self.file}: `topics`: {problem}; name a file of what a teacher says on each topic, as "
                "courses/demo/topics.yaml"
            )
        return file

    @property
    def assignments_folder(self) -> Path:
        return self.folder / self.assignments.path

    def load_assignments(self, required: bool = True) -> tuple[dict[str, Assignment], dict[str, str]]:
        """Assignments that can be graded, by name, and the reason for each one that cannot.

        Raises CourseError where not one can, unless none is `required`.
        """
        if not self.assignments_folder.is_dir():
            if not required:
                return {}, {}
            # Its log brings them.
            raise CourseError(
                f"{self.assignments_folder}: missing; run `tutee source {self.name}`, which writes the "
                "assignments there from the log"
            )
        good: dict[str, Assignment] = {}
        broken: dict[str, str] = {}
        for folder in sorted(entry for entry in self.assignments_folder.iterdir() if entry.is_dir()):
            if folder.name.startswith((".", "_")):
                continue
            try:
                good[folder.name] = Assignment.load(folder, self.assignments.tests)
            except AssignmentError as error:
                broken[folder.name] = str(error)
        if not good and required:
            reasons = "".join(f"\n  {name}: {reason}" for name, reason in broken.items())
            raise CourseError(f"{self.assignments_folder}: not one assignment can be used{reasons}")
        return good, broken

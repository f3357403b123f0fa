"""A course file: all that is particular about one course, as data."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from tutee_grader.config import describe_errors
from tutee_serializer.errors import CourseError

if TYPE_CHECKING:
    from tutee_grader import Assignment

# A column of the log, or several names of which each file has one.
Column = str | list[str]

# Words for what a person is, which the log may hold and a student model has no business knowing.
DEMOGRAPHIC = re.compile(
    r"gender|\bsex\b|ethnic|\brace\b|religion|nationality|disabilit|birth|\bage\b|\bmajor\b|citizen|income"
    r"|marital|first_?gen",
    re.IGNORECASE,
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Simulator(_Section):
    """A program that writes the log of a synthetic class."""

    program: str
    seed: int = Field(ge=0)
    students: dict[str, Annotated[int, Field(gt=0)]] = Field(min_length=1)

    @field_validator("program")
    @classmethod
    def _exists(cls, program: str, info: ValidationInfo) -> str:
        folder = (info.context or {}).get("folder", Path())
        if not any((folder / name).exists() for name in (program, f"{program}.py")):
            raise ValueError(f"{folder / program} does not exist")
        return program


class Logs(_Section):
    """Where the log lies and how it is to be read.

    `path` is a file, a folder, a glob or a URL, relative to the course file; or one of these per
    semester. A course with a simulator reads the log that this one writes (`Places.simulated`).
    Times without a zone are read in `timezone`; `time_formats` (strptime) are needed only for times that are
    neither ISO 8601 nor seconds since 1970. Scores run from 0 to `score_scale`. `kinds` says which values of
    the column `kind` mark a submission, and which a message to the student. `filters` are FalconCode's, all
    of them unless some are named.
    """

    path: str | dict[str, str] | None = None
    format: Literal["table", "progsnap2", "falcon"] = "table"
    encoding: str | None = None
    timezone: str = "UTC"
    time_formats: list[str] = []
    score_scale: Annotated[float, Field(gt=0)] = 100.0
    kinds: dict[str, Literal["submission", "message"]] = {}
    filters: list[Literal["local_run", "csv", "redacted", "type", "exam", "group"]] | None = None

    @field_validator("path")
    @classmethod
    def _exists(cls, path: str | dict[str, str] | None, info: ValidationInfo) -> str | dict[str, str] | None:
        context = info.context or {}
        paths = list(path.values()) if isinstance(path, dict) else [path] if path else []
        # A name with wildcards is checked when it is read: a folder may fill up later.
        local = [context.get("folder", Path()) / one for one in paths if not re.search(r"://|[*?\[]", one)]
        missing = [str(path) for path in local if not path.exists()]
        if missing and context.get("logs", True):
            raise ValueError(f"{', '.join(missing)} does not exist (relative paths start at the course file)")
        return path

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, name: str) -> str:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"no time zone is called {name!r}; write one like Europe/Dublin") from None
        return name

    @field_validator("encoding")
    @classmethod
    def _is_encoding(cls, name: str | None) -> str | None:
        import codecs

        if name is not None:
            try:
                codecs.lookup(name)
            except LookupError:
                raise ValueError(
                    f"Python knows no encoding {name!r}; write one like utf-8 or cp1252"
                ) from None
        return name


class Columns(_Section):
    """Which column of the log holds what; every other column stays out.

    `row` is an id of the row, `label` the log's own right-or-wrong, `feedback` a text the student got
    that is not the grader's, and `author` who wrote it. `demographics` are columns that describe people:
    they are refused as any other field, and listed here they go to a table of their own.
    """

    student: Column | None = None
    assignment: Column | None = None
    code: Column | None = None
    semester: Column | None = None
    attempt: Column | None = None
    timestamp: Column | None = None
    score: Column | None = None
    max_score: Column | None = None
    label: Column | None = None
    feedback: Column | None = None
    author: Column | None = None
    kind: Column | None = None
    row: Column | None = None
    demographics: list[str] = []

    def mapping(self) -> dict[str, list[str]]:
        """The fields that have a column, each with the column's possible names."""
        fields = {name: getattr(self, name) for name in type(self).model_fields if name != "demographics"}
        return {
            name: [column] if isinstance(column, str) else column for name, column in fields.items() if column
        }


class Assignments(_Section):
    """The folder with one folder per assignment, and the form of its tests where these do not say."""

    path: str
    tests: Literal["calls", "asserts", "stdio", "falcon", "unittest"] | None = None

    @field_validator("path")
    @classmethod
    def _exists(cls, path: str, info: ValidationInfo) -> str:
        context = info.context or {}
        folder = context.get("folder", Path()) / path
        if context.get("falcon"):
            # FalconCode's assignments are made from its table, by the stage `source`.
            return path
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder (relative paths start at the course file)")
        if not any(entry.is_dir() for entry in folder.iterdir()):
            raise ValueError(f"{folder} holds no folder of an assignment")
        return path


class Semesters(_Section):
    """Semesters to learn from, and semesters to be examined on; a submission of another is left out."""

    train: list[str] = Field(min_length=1)
    test: list[str] = Field(min_length=1)

    @field_validator("test")
    @classmethod
    def _disjoint(cls, test: list[str], info: ValidationInfo) -> list[str]:
        if both := sorted(set(test) & set(info.data.get("train", []))):
            raise ValueError(f"{', '.join(both)} would be both learnt from and examined on")
        return test

    @property
    def all(self) -> list[str]:
        return [*self.train, *self.test]


class Course(_Section):
    """One course. `Course.load` reads it; `file` is where it was read from."""

    file: Path
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    synthetic: bool = False
    simulator: Simulator | None = None
    logs: Logs = Field(Logs(), validate_default=True)
    columns: Columns = Field(Columns(), validate_default=True)
    assignments: Assignments
    semesters: Semesters

    @field_validator("logs")
    @classmethod
    def _has_a_log(cls, logs: Logs, info: ValidationInfo) -> Logs:
        if logs.path is None and "simulator" in info.data and info.data["simulator"] is None:
            raise ValueError("`path` is missing: the file, folder, glob or URL of the log")
        return logs

    @field_validator("columns")
    @classmethod
    def _has_columns(cls, columns: Columns, info: ValidationInfo) -> Columns:
        logs = info.data.get("logs")
        mapping = columns.mapping()
        problems = [
            f"`{name}: {column}` describes people; a column like that may only stand under `demographics`"
            for name, names in mapping.items()
            for column in names
            if DEMOGRAPHIC.search(column)
        ]
        if logs is not None and logs.format == "table":
            required = ["student", "assignment", "code"]
            if not isinstance(logs.path, dict):
                required.append("semester")
            problems += [f"`{name}` is missing" for name in required if name not in mapping]
            if "timestamp" not in mapping and "attempt" not in mapping:
                problems.append("`timestamp` or `attempt` is missing: one of them orders a student's work")
            if logs.kinds and "kind" not in mapping:
                problems.append("`kind` is missing, and logs.kinds speaks of it")
        if problems:
            raise ValueError("; ".join(problems))
        return columns

    @classmethod
    def load(cls, path: str | Path, logs: bool = True) -> "Course":
        """Reads a course file.

        `logs=False` leaves unchecked whether the log is there, for those who only need the assignments.
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
            raise CourseError(f"{file}: `file`: unknown here")
        section = values.get("logs")
        context = {
            "folder": file.parent,
            "logs": logs and not values.get("simulator"),
            "falcon": isinstance(section, dict) and section.get("format") == "falcon",
        }
        try:
            return cls.model_validate({**values, "file": file}, context=context)
        except ValidationError as error:
            raise CourseError("\n".join(f"{file}: {problem}" for problem in describe_errors(error))) from None

    @property
    def folder(self) -> Path:
        return self.file.parent

    @property
    def assignments_folder(self) -> Path:
        return self.folder / self.assignments.path

    def load_assignments(self) -> tuple[dict[str, "Assignment"], dict[str, str]]:
        """Assignments that can be graded, by name, and the reason for each one that cannot.

        Raises CourseError where not one can.
        """
        from tutee_grader import Assignment, AssignmentError

        good: dict[str, Assignment] = {}
        broken: dict[str, str] = {}
        for folder in sorted(entry for entry in self.assignments_folder.iterdir() if entry.is_dir()):
            if folder.name.startswith((".", "_")):
                continue
            try:
                good[folder.name] = Assignment.load(folder, self.assignments.tests)
            except AssignmentError as error:
                broken[folder.name] = str(error)
        if not good:
            reasons = "".join(f"\n  {name}: {reason}" for name, reason in broken.items())
            raise CourseError(f"{self.assignments_folder}: not one assignment can be used{reasons}")
        return good, broken

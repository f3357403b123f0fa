"""What a course file says of its log: the sections `logs` and `columns`."""

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from tutee_grader.config import Section


class CourseSection(Section):
    """A section of a course file, where a number is read as text (a semester called 2024)."""

    model_config = ConfigDict(coerce_numbers_to_str=True)


# A column of the log, or several names of which each file has one.
Column = str | list[str]

# Words for what a person is, which the log may hold and a student model has no business knowing.
DEMOGRAPHIC = re.compile(
    r"gender|\bsex\b|ethnic|\brace\b|religion|nationality|disabilit|birth|\bage\b|\bmajor\b|citizen|income"
    r"|marital|first_?gen",
    re.IGNORECASE,
)


class LogsConfig(CourseSection):
    """Where the log lies and how to read it.

    `path` is a file, a folder or a glob, relative to the course file, or a URL (one that ends in / is a
    folder, one with a * a glob); or one of these per semester. A course with a simulator reads the log that
    the simulator writes. `format` is a row of `logs.FORMATS`. Times without a zone are read in `timezone`;
    `time_formats` (strptime) are needed only for times that are neither ISO 8601 nor seconds since 1970.
    Scores run from 0 to `score_scale`. `kinds` says which values of the column `kind` (ProgSnap2: EventType)
    mark a submission, and which a message to the student. `clean` names rules of `ingest.cleaning`.
    `filters` are FalconCode's, all of them unless some are named.

    `semester` names the semester of a row where no column does: `file_name`, `folder` (that the file lies
    in), or the date on which each semester starts, in `timezone`; rows before the first are left out.
    """

    path: str | dict[str, str] | None = None
    semester: Literal["file_name", "folder"] | dict[str, date] | None = None
    format: str = "table"
    encoding: str | None = None
    timezone: str = "UTC"
    time_formats: list[str] = Field(default=[])
    score_scale: Annotated[float, Field(gt=0)] = 100.0
    kinds: dict[str, Literal["submission", "message"]] = Field(default={})
    clean: list[Literal["trailing_backslash", "truncated"]] = Field(default=[])
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

    @field_validator("semester", mode="plain")
    @classmethod
    def _is_naming(cls, naming: Any, info: ValidationInfo) -> Any:
        if isinstance(info.data.get("path"), dict):
            raise ValueError("`path` names a semester for each path already; remove one of the two")
        if naming in ("file_name", "folder"):
            return naming
        try:
            starts = {str(name): date.fromisoformat(str(start)) for name, start in naming.items()}
        except (AttributeError, ValueError):
            starts = {}
        if not starts or len(set(starts.values())) < len(starts):
            raise ValueError(
                "write file_name, folder, or a start date of its own for each semester, such as "
                "{2024-autumn: 2024-09-01, 2025-spring: 2025-02-01}"
            )
        return starts

    @field_validator("kinds")
    @classmethod
    def _has_submissions(cls, kinds: dict[str, str]) -> dict[str, str]:
        if kinds and "submission" not in kinds.values():
            raise ValueError(
                "no kind is a submission, so no row would be one; add it, as `Submit: submission`"
            )
        return kinds

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


class ColumnsConfig(CourseSection):
    """Which column of the log holds what; no other column is read.

    `row` is an id of the row, `label` the log's own right or wrong, `feedback` a text to the student that
    is not the grader's, and `author` who wrote it. `arm` is the arm of an experiment that decided what the
    student was told (section `arms` of the course file). `demographics` are columns that describe people:
    they are refused for any other field, and go to a table of their own.
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
    arm: Column | None = None
    demographics: list[str] = Field(default=[])

    def mapping(self) -> dict[str, list[str]]:
        """The fields that have a column, each with the column's possible names."""
        fields = {name: getattr(self, name) for name in type(self).model_fields if name != "demographics"}
        return {
            name: [column] if isinstance(column, str) else column for name, column in fields.items() if column
        }

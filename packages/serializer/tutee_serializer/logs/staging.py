"""The staged table: a row per row of the log, every field as text.

Readers differ by format; what they stage is the same, so everything after them is written once.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tutee_serializer.errors import LogError
from tutee_serializer.logs.config import ColumnsConfig, LogsConfig
from tutee_serializer.semesters import WITHIN_ONE

FIELDS = (
    "student",
    "assignment",
    "code",
    "semester",
    "attempt",
    "timestamp",
    "score",
    "max_score",
    "label",
    "feedback",
    "author",
    "kind",
    "row",
    "arm",
)

# What exports write where there is no value (R, pandas, SQL, Python), in lower case.
NO_VALUE = ("", "na", "n/a", "nan", "null", "none")

# `demographics` is JSON: the columns that the course file asks for by name, unchanged.
# `reason`, `field` and `value` are set where the reader itself could not make sense of a row.
STAGED = pl.Schema(
    {
        "source": pl.String(),
        "source_row": pl.Int64(),
        **{name: pl.String() for name in FIELDS},
        "demographics": pl.String(),
        "reason": pl.String(),
        "field": pl.String(),
        "value": pl.String(),
    }
)


@dataclass(frozen=True)
class Log:
    """A course's log, as the course file `file` describes it; relative paths start in that file's folder.

    `simulated` is the log that the course's simulator writes, where it has one. `one_semester` is the
    semester of rows that have none, where the course is not split by semester and needs none.
    """

    file: Path
    config: LogsConfig
    columns: ColumnsConfig
    simulated: Path | None = None
    one_semester: str | None = None

    @property
    def folder(self) -> Path:
        return self.file.parent


@dataclass(frozen=True)
class Source:
    """How one file of the log was read.

    `columns` maps each field to its column; `unused` are the columns that were not read; `repaired` counts
    lines that were not in the file's encoding.
    """

    name: str
    rows: int
    encoding: str
    columns: dict[str, str]
    unused: list[str]
    repaired: int = 0


@dataclass(frozen=True)
class StagedLog:
    """The rows of a log before any check.

    `left_out` counts the rows that the reader's named filters dropped; `fields` are those the log has;
    `notes` counts what else the reader noticed.
    """

    rows: pl.LazyFrame
    sources: list[Source]
    left_out: dict[str, int]
    fields: frozenset[str]
    notes: dict[str, int]


@dataclass(frozen=True)
class LogFormat:
    """A format of logs: one row of `logs.FORMATS`.

    `read` stages a log and may use a scratch folder, which its caller removes. `fields` are those that the
    format fills by itself, so the course file need not map them. `write_assignments` writes the
    assignments that the log brings into a folder and returns their number; None where it brings none.
    """

    name: str
    read: Callable[[Log, Path], "StagedLog"]
    fields: frozenset[str] = frozenset()
    write_assignments: Callable[[Log, Path], int] | None = None


def find_columns(
    name: str, found: Iterable[str], mapping: dict[str, list[str]], file: Path
) -> dict[str, str]:
    """The column of each mapped field, by field; raises LogError with every column that is missing."""
    columns = [column for column in found if column]
    chosen: dict[str, str] = {}
    problems = []
    for field, names in mapping.items():
        match = next((column for column in names if column in columns), None)
        if match is not None:
            chosen[field] = match
            continue
        near = difflib.get_close_matches(names[0], columns, n=1)
        hint = (
            f"; did it become `{near[0]}`? Then write `{field}: [{', '.join([*names, near[0]])}]`"
            if near
            else ""
        )
        if field == "semester":
            hint += f"; `logs.semester` may name semesters instead, or {WITHIN_ONE} do without"
        problems.append(f"`columns.{field}`: {name} has no column {' or '.join(map(repr, names))}{hint}")
    if problems:
        listed = ", ".join(columns) or "none"
        raise LogError(
            "\n".join(f"{file}: {one}" for one in problems) + f"\n  columns found in {name}: {listed}"
        )
    return chosen


def without_no_value(column: str) -> pl.Expr:
    """The column, null where it says only that there is no value, such as NA."""
    text = pl.col(column)
    return pl.when(~text.str.strip_chars().str.to_lowercase().is_in(NO_VALUE)).then(text).alias(column)


def folder_name(problem: pl.Expr) -> pl.Expr:
    """A problem's id as the name of a folder."""
    return problem.str.replace_all(r"[^\w-]+", "_")


def stage(frame: pl.DataFrame, source: str, first_row: int) -> pl.DataFrame:
    """`frame` brought to the columns and types of STAGED; its rows are numbered from `first_row`."""
    if "source_row" not in frame.columns:
        frame = frame.with_row_index("source_row", offset=first_row)
    missing = [pl.lit(None, pl.String()).alias(name) for name in STAGED if name not in frame.columns]
    return (
        frame.with_columns(missing)
        .with_columns(pl.lit(source).alias("source"))
        .select(pl.col(name).cast(kind) for name, kind in STAGED.items())
    )


def write_parts(parts: Iterator[pl.DataFrame], folder: Path, name: str) -> int:
    """Writes staged parts one by one, so that a log may outgrow memory; returns the number of rows."""
    rows = 0
    for number, part in enumerate(parts):
        rows += part.height
        part.write_parquet(folder / f"{name}_{number:06d}.parquet", compression="lz4")
    return rows

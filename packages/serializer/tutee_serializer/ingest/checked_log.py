"""A whole log checked, block by block: what is known of each row, and its usable rows in files."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from tqdm import tqdm

from tutee_serializer.course import Course
from tutee_serializer.ingest.blocks import find_students, split
from tutee_serializer.ingest.checks import check_rows, parse_rows, used_before
from tutee_serializer.ingest.cleaning import clean, find_truncated
from tutee_serializer.ingest.privacy import pseudonym
from tutee_serializer.logs.staging import StagedLog
from tutee_serializer.schemas import TRAJECTORY

# The row of a log without what people wrote: a university's logs have ten million.
_ROW = pl.Schema(
    {
        "position": pl.UInt32(),
        "source": pl.Categorical(),
        "source_row": pl.Int64(),
        "semester": pl.Categorical(),
        "student": pl.Categorical(),
        "assignment": pl.Categorical(),
        "submitted_at": pl.Datetime("us", "UTC"),
        "row_kind": pl.Categorical(),
        "filter": pl.Categorical(),
        "reason": pl.Categorical(),
        "cleaned": pl.Boolean(),
        "truncated": pl.Boolean(),
        "row_id": pl.UInt64(),
        "block": pl.Int32(),
    }
)
# What is needed of a row that can be used, and of one in quarantine.
_OF_USABLE = ("position", "source", "source_row", *TRAJECTORY, "submitted_at", "row_kind", "number", "points")
_OF_USABLE += ("scale", "logged_correct", "code", "feedback", "author", "arm", "demographics")
_OF_BAD = ("position", "source", "source_row", "field", "value")
IS_USABLE = pl.col("filter").is_null() & pl.col("reason").is_null()
IS_QUARANTINED = pl.col("filter").is_null() & pl.col("reason").is_not_null()


@dataclass(frozen=True)
class CheckedLog:
    """The rows of a log, under pseudonyms (`names`, by student id).

    `rows` has every row without what people wrote; `filter` names what drops it, `reason` says why it goes to
    quarantine. `bad` has `field` and `value` of the rows with a reason. `files` have what people wrote, too,
    a file per `block` of `rows`, for the rows that passed all checks but that of their ids.
    """

    names: dict[str, str]
    rows: pl.DataFrame
    bad: pl.DataFrame
    files: list[Path]


def check_log(
    staged: StagedLog,
    course: Course,
    good: Collection[str],
    broken: Collection[str],
    key: bytes,
    forgotten: Collection[str],
    max_code_bytes: int,
    folder: Path,
) -> CheckedLog:
    """Checks every row of a staged log; what does not fit into memory goes to `folder`.

    Students whose pseudonyms are in `forgotten` are dropped. Where no assignment is `good`, all that the log
    names and that are not `broken` are usable.
    """
    logs, one_semester = course.logs, course.log().one_semester
    by_date = isinstance(logs.semester, dict)
    needs_times = by_date or course.semesters.split == "time"
    parsed = parse_rows(staged.rows, logs, one_semester)
    cut = find_truncated(parsed) if "truncated" in logs.clean else pl.DataFrame()
    usable = set(good) or _named(parsed) - set(broken)
    names = {student: pseudonym(student, key) for student in find_students(staged.rows)}
    name = pl.col("student").replace_strict(names, default=None, return_dtype=pl.String)
    rows, bad, files = [], [], []
    blocks = split(staged.rows, names, folder / "blocks")
    for number, staged_rows in enumerate(tqdm(blocks, "checking the log", unit="block", disable=None)):
        block = clean(parse_rows(staged_rows, logs, one_semester), logs.clean, cut)
        checked = check_rows(
            block, staged.fields, by_date, needs_times, max_code_bytes, usable, broken, course.arms
        )
        checked = checked.with_columns(name).with_columns(_without(forgotten), block=number)
        row_id = pl.when(pl.col("row").is_not_null()).then(pl.struct("semester", "row").hash())
        table = checked.with_columns(row_id=row_id).collect()
        files.append(folder / f"usable_{number:04}.parquet")
        table.filter(IS_USABLE).select(_OF_USABLE).write_parquet(files[-1], compression="lz4")
        bad.append(table.filter(pl.col("reason").is_not_null()).select(_OF_BAD))
        rows.append(table.select(pl.col(column).cast(kind) for column, kind in _ROW.items()))
    return CheckedLog(names, *_with_used_ids(pl.concat(rows), pl.concat(bad)), files)


def _named(rows: pl.LazyFrame) -> set[str]:
    names = rows.select(pl.col("assignment").unique().drop_nulls())
    return set(names.collect(engine="streaming")["assignment"])


def _without(forgotten: Collection[str]) -> pl.Expr:
    theirs = pl.col("student").is_in(sorted(forgotten))
    return pl.when(theirs).then(pl.lit("student to be forgotten")).otherwise("filter").alias("filter")


def _with_used_ids(rows: pl.DataFrame, bad: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ids of rows are looked at last: two students of different blocks may have the same."""
    again = rows["reason"].is_null() & used_before(rows)
    if not again.any():
        return rows, bad
    reason = pl.when(again).then(pl.lit("row id used before")).otherwise("reason").cast(pl.Categorical)
    more = rows.filter(again).select(
        "position",
        pl.col("source").cast(pl.String),
        "source_row",
        field=pl.lit("row"),
        value=pl.lit(None, pl.String),
    )
    return rows.with_columns(reason.alias("reason")), pl.concat([bad, more])

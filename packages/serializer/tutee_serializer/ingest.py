"""Judges every row of a course's log: kept, quarantined with a reason, or left out by a named filter."""

import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from tutee_serializer.account import Account, Step
from tutee_serializer.course import Course
from tutee_serializer.errors import LogError
from tutee_serializer.logs import FIELDS, read_logs
from tutee_serializer.masks import Masker
from tutee_serializer.places import Places
from tutee_serializer.privacy import load_key, pseudonym, published, read_forgotten
from tutee_serializer.schemas import QUARANTINE, SUBMISSIONS
from tutee_serializer.text import UNREADABLE
from tutee_serializer.times import read_times
from tutee_serializer.validation import validate

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
# A log counts as written in the order of time when fewer of its rows than this share are behind those above.
IN_ORDER = 0.05
TRAJECTORY = ["semester", "student", "assignment"]


class Ingest(BaseModel):
    """The section `ingest` of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_code_bytes: Annotated[int, Field(gt=0)] = 65_536
    # Share of the log's rows that may be in quarantine before the run stops.
    max_quarantined: Annotated[float, Field(ge=0, le=1)] = 0.2


@dataclass(frozen=True)
class Ingested:
    """The tables SUBMISSIONS and QUARANTINE of a course, and their account."""

    submissions: pl.DataFrame
    quarantine: pl.DataFrame
    account: Account


def ingest(course: Course, config: Ingest, places: Places) -> Ingested:
    """Reads, judges, pseudonymises, validates and writes a course's log, and its Data Docs.

    Raises LogError where no row can be used, ValidationError where an expectation of level error fails.
    """
    result = understand(course, config, places)
    checks = validate(result.submissions, course, result.account, config.max_quarantined, places.data_docs)
    warnings = [str(check) for check in checks if not check.passed]
    result = replace(result, account=replace(result.account, warnings=warnings))
    _write(result.submissions, places.submissions)
    _write(result.quarantine, places.quarantine)
    result.account.save(places.account)
    return result


def _write(table: pl.DataFrame, path: Path) -> None:
    """Under another name first: a table that was cut short is never taken for a whole one."""
    unfinished = path.with_suffix(".unfinished")
    table.write_parquet(unfinished)
    unfinished.replace(path)


def understand(course: Course, config: Ingest, places: Places) -> Ingested:
    """What `ingest` would write, without writing it."""
    good, broken = course.load_assignments()
    places.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=places.data, prefix=".ingest_") as folder:
        staged = read_logs(course, places, Path(folder))
        rows = _judge(_parse(staged.rows, course), staged.fields, course, config, good, broken).collect()
    key = load_key(places)
    names = {student: pseudonym(student, key) for student in rows["student"].drop_nulls().unique()}
    rows = _forget(rows.with_columns(_named(names)), read_forgotten(places))
    filters = rows.filter(pl.col("filter").is_not_null())
    bad = rows.filter(pl.col("filter").is_null() & pl.col("reason").is_not_null())
    kept = rows.filter(pl.col("filter").is_null() & pl.col("reason").is_null())
    flow = [
        Step("rows in the log", "in", rows.height + sum(staged.left_out.values())),
        *(Step(name, "filter", count) for name, count in staged.left_out.items()),
        *_steps(filters, "filter"),
        *_steps(bad, "quarantine", "reason"),
        Step("submissions kept", "kept", kept.height),
    ]
    if kept.is_empty():
        counts = "".join(f"\n  {step.rows:,} x {step.step}" for step in flow[1:-1])
        raise LogError(f"{course.file}: not one row of {rows.height:,} can be used:{counts}")
    masker = Masker(key, names, published(course.assignments_folder))
    submissions, notes = _order(kept, course, "attempt" in staged.fields)
    submissions = submissions.with_columns(masker.programs(submissions["code"]))
    quarantine = _cast(bad.with_columns(masker.texts(bad["value"]).str.slice(0, 80)), QUARANTINE)
    account = Account(
        course.name, course.made_up, staged.sources, flow, broken, notes, dict(masker.counts), warnings=[]
    )
    account.check()
    return Ingested(submissions, quarantine, account)


def _cast(rows: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    return rows.select(pl.col(name).cast(kind) for name, kind in schema.items())


def _named(names: dict[str, str]) -> pl.Expr:
    return pl.col("student").replace_strict(names, default=None, return_dtype=pl.String)


def _forget(rows: pl.DataFrame, forgotten: set[str]) -> pl.DataFrame:
    theirs = pl.col("student").is_in(sorted(forgotten))
    return rows.with_columns(
        pl.when(theirs).then(pl.lit("student to be forgotten")).otherwise("filter").alias("filter")
    )


def _steps(rows: pl.DataFrame, kind: str, column: str = "filter") -> Iterable[Step]:
    counts = rows.group_by(column).len().sort("len", column, descending=[True, False])
    return [Step(name, kind, count) for name, count in counts.iter_rows()]


def _parse(rows: pl.LazyFrame, course: Course) -> pl.LazyFrame:
    """Text fields stripped, empty ones made null, numbers and times beside the text they came from."""
    trimmed = [pl.col(name).str.strip_chars() for name in FIELDS if name not in ("code", "feedback")]
    label = pl.col("label").str.to_lowercase()
    scale = pl.coalesce(pl.col("max_score").cast(pl.Float64, strict=False), pl.lit(course.logs.score_scale))
    times = read_times(pl.col("timestamp"), course.logs.timezone, course.logs.time_formats)
    return (
        rows.with_columns(trimmed)
        .with_columns(pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in FIELDS)
        .with_columns(
            pl.col("code").str.replace_all("\r\n", "\n", literal=True),
            pl.col("score").cast(pl.Float64, strict=False).alias("points"),
            scale.alias("scale"),
            pl.col("attempt").cast(pl.Float64, strict=False).alias("number"),
            pl.when(label.is_in(["1", "true", "yes", "correct", "1.0"]))
            .then(True)
            .when(label.is_in(["0", "false", "no", "incorrect", "0.0"]))
            .then(False)
            .alias("logged_correct"),
            times.alias("submitted_at"),
        )
    )


def _judge(
    rows: pl.LazyFrame,
    fields: frozenset[str],
    course: Course,
    config: Ingest,
    good: Iterable[str],
    broken: Iterable[str],
) -> pl.LazyFrame:
    """Adds `filter`, the named filter that drops a row, and `reason`, `field`, `value` for quarantine."""
    everything = pl.struct(name for name in FIELDS if name in fields or name == "semester")
    readable = pl.col("reason").is_null()
    in_course = pl.col("semester").is_in(course.semesters.all)
    filters = [
        ("duplicate row", readable & ~everything.hash().is_first_distinct()),
        ("semester not in the course file", readable & ~in_course),
        ("assignment with broken tests", readable & pl.col("assignment").is_in(sorted(broken))),
    ]
    latest = datetime.now(UTC) + timedelta(days=1)
    size = pl.col("code").str.len_bytes()
    unreadable = [pl.col(name).str.contains(UNREADABLE, literal=True) for name in FIELDS]
    tests: list[tuple[str, str, pl.Expr]] = [
        ("bytes that are no text in the file's encoding", "", pl.any_horizontal(unreadable)),
        ("no student", "student", pl.col("student").is_null()),
        ("no assignment", "assignment", pl.col("assignment").is_null()),
        ("unknown assignment", "assignment", ~pl.col("assignment").is_in(sorted([*good, *broken]))),
        ("no semester", "semester", pl.col("semester").is_null()),
        ("blank code", "code", pl.col("code").is_null() | ~pl.col("code").str.contains(r"\S")),
        ("a NUL in the code", "code", pl.col("code").str.contains("\0", literal=True)),
        (f"code longer than {config.max_code_bytes:,} bytes", "code", size > config.max_code_bytes),
        ("score is not a number", "score", ~_null("score") & ~pl.col("points").is_finite()),
        ("score is not a number", "score", ~_null("score") & pl.col("points").is_null()),
        ("impossible score", "score", ~pl.col("points").is_between(0, pl.col("scale"))),
        (
            "label is neither right nor wrong",
            "label",
            pl.col("label").is_not_null() & _null("logged_correct"),
        ),
        ("unreadable time", "timestamp", pl.col("timestamp").is_not_null() & _null("submitted_at")),
        ("impossible time", "timestamp", ~pl.col("submitted_at").is_between(EARLIEST, latest)),
        ("attempt is not a whole number", "attempt", ~_null("attempt") & ~_whole("number")),
    ]
    if "attempt" in fields:
        tests.append(("no attempt number", "attempt", _null("attempt")))
    else:
        tests.append(("no time", "timestamp", _null("timestamp")))
    if "row" in fields:
        tests.append(
            ("row id used before", "row", pl.col("row").is_not_null() & ~pl.col("row").is_first_distinct())
        )
    failed = pl.coalesce(
        pl.when(test).then(pl.struct(pl.lit(reason).alias("reason"), pl.lit(field).alias("field")))
        for reason, field, test in tests
    )
    shown = [name for name in ("assignment", "semester", "score", "timestamp", "attempt", "label")]
    value = pl.coalesce(
        pl.when(pl.col("field") == "code").then(pl.format("{} bytes", size.fill_null(0))),
        *(pl.when(pl.col("field") == name).then(pl.col(name)) for name in shown),
        pl.col("value"),
    )
    return (
        rows.with_columns(
            pl.coalesce(pl.when(test).then(pl.lit(name)) for name, test in filters).alias("filter"),
            pl.when(readable).then(failed).otherwise(pl.struct("reason", "field")).alias("failed"),
        )
        .with_columns(pl.col("failed").struct.field("reason"), pl.col("failed").struct.field("field"))
        .with_columns(value.alias("value"))
    )


def _null(name: str) -> pl.Expr:
    return pl.col(name).is_null()


def _whole(name: str) -> pl.Expr:
    return (pl.col(name) == pl.col(name).floor()).fill_null(False)


def _order(kept: pl.DataFrame, course: Course, has_attempts: bool) -> tuple[pl.DataFrame, dict[str, int]]:
    """Submissions in the order of each student's work; and what was noticed.

    Attempt numbers order them where there are any; else times do. In a log that was written in the order of
    time, a row that is behind the rows above it had a wrong clock: it keeps its place, and is counted.
    """
    seen = pl.col("submitted_at").cum_max().over("source", order_by="source_row")
    behind = pl.col("submitted_at") < pl.col("seen")
    arrived = (
        kept.lazy()
        .with_columns(seen.alias("seen"))
        .with_columns((behind.mean().over("source") < IN_ORDER).fill_null(False).alias("chronological"))
        .with_columns(pl.when("chronological").then("seen").otherwise("submitted_at").alias("arrived"))
    )
    by = ["number"] if has_attempts else ["arrived"]
    ordered = (
        arrived.sort(*TRAJECTORY, *by, "source", "source_row")
        .with_columns(pl.int_range(1, pl.len() + 1).over(TRAJECTORY).alias("order"))
        .with_columns((pl.col("submitted_at").diff().over(TRAJECTORY) < timedelta()).alias("skewed"))
        .collect()
    )
    notes = {
        "submissions with a clock behind the one before, kept in the log's order": int(
            ordered["skewed"].sum()
        )
    }
    identified = ordered.with_columns(
        pl.lit(course.name).alias("course"),
        pl.Series("submission_id", _identify(course.name, ordered), pl.String),
        (pl.col("points") / pl.col("scale") * 100).alias("logged_score"),
        pl.lit([], SUBMISSIONS["messages"]).alias("messages"),
    )
    return _cast(identified, SUBMISSIONS), notes


def _identify(course: str, rows: pl.DataFrame) -> list[str]:
    """A hash of what makes each submission this one: from the pseudonym, so that it gives no id away."""
    columns = ("semester", "student", "assignment", "order")
    return [
        hashlib.sha256("\0".join((course, *map(str, row))).encode()).hexdigest()[:20]
        for row in rows.select(columns).iter_rows()
    ]

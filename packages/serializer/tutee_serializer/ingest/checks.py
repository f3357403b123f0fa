"""Checks every row of a staged log: usable, quarantined with a reason, or dropped by a named filter."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from tutee_serializer.logs.config import LogsConfig
from tutee_serializer.logs.encodings import UNREADABLE
from tutee_serializer.logs.staging import FIELDS, without_no_value
from tutee_serializer.logs.times import read_times

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)


def parse_rows(rows: pl.LazyFrame, logs: LogsConfig, one_semester: str | None = None) -> pl.LazyFrame:
    """Text fields stripped, empty ones made null, numbers and times beside the text they came from.

    A score, label or feedback of NA, NaN, null or None is none at all. `one_semester` is the semester of
    rows that have none.
    """
    trimmed = [pl.col(name).str.strip_chars() for name in FIELDS if name not in ("code", "feedback")]
    label = pl.col("label").str.to_lowercase()
    scale = pl.coalesce(pl.col("max_score").cast(pl.Float64, strict=False), pl.lit(logs.score_scale))
    kind = pl.col("kind").replace_strict(logs.kinds, default="neither", return_dtype=pl.String)
    times = read_times(pl.col("timestamp"), logs.timezone, logs.time_formats)
    return (
        rows.with_columns(trimmed)
        .with_columns(
            without_no_value(name)
            if name in ("score", "max_score", "label", "feedback")
            else pl.when(pl.col(name) != "").then(pl.col(name)).alias(name)
            for name in FIELDS
        )
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
            (kind if logs.kinds else pl.lit("submission")).alias("row_kind"),
        )
        .with_columns(_semester(logs, one_semester).alias("semester"))
    )


def _semester(logs: LogsConfig, one_semester: str | None) -> pl.Expr:
    """The semester of each row: by its time where the course file has start dates."""
    if not isinstance(logs.semester, dict):
        return pl.col("semester").fill_null(pl.lit(one_semester))
    zone = ZoneInfo(logs.timezone)
    starts = sorted(((start, name) for name, start in logs.semester.items()), reverse=True)
    return pl.coalesce(
        pl.when(pl.col("submitted_at") >= datetime.combine(start, time(), zone).astimezone(UTC)).then(
            pl.lit(name)
        )
        for start, name in starts
    )


def check_rows(
    rows: pl.LazyFrame,
    fields: frozenset[str],
    by_date: bool,
    needs_times: bool,
    max_code_bytes: int,
    good: Iterable[str],
    broken: Iterable[str],
    arms: Collection[str],
) -> pl.LazyFrame:
    """Adds `filter`, the named filter that drops a row, and `reason`, `field`, `value` for quarantine.

    `rows` has all rows of its students, in the log's order. Ids of rows are not looked at: `used_before`.
    `by_date`: times, not the log, say the semesters. `needs_times`: no row can do without its time. Where
    there are `arms`, every row has one.
    """
    everything = pl.struct(name for name in FIELDS if name in fields or name == "semester")
    readable = pl.col("reason").is_null()
    latest = datetime.now(UTC) + timedelta(days=1)
    possible = pl.col("submitted_at").is_between(EARLIEST, latest)
    filters = [
        ("neither a submission nor a message", readable & (pl.col("row_kind") == "neither")),
        ("truncated program", readable & pl.col("truncated")),
        ("duplicate row", readable & ~everything.hash().is_first_distinct()),
        ("before the first semester", readable & by_date & possible & _null("semester")),
        ("assignment with broken tests", readable & pl.col("assignment").is_in(sorted(broken))),
    ]
    size = pl.col("code").str.len_bytes()
    is_message = pl.col("row_kind") == "message"
    blank = [pl.col(name).is_null() | ~pl.col(name).str.contains(r"\S") for name in ("code", "feedback")]
    unreadable = [pl.col(name).str.contains(UNREADABLE, literal=True) for name in FIELDS]
    tests: list[tuple[str, str, pl.Expr]] = [
        ("bytes that are no text in the file's encoding", "", pl.any_horizontal(unreadable)),
        ("no student", "student", pl.col("student").is_null()),
        ("no assignment", "assignment", pl.col("assignment").is_null()),
        ("unknown assignment", "assignment", ~pl.col("assignment").is_in(sorted([*good, *broken]))),
        ("no semester", "semester", _null("semester") & (not by_date)),
        ("blank code", "code", ~is_message & blank[0]),
        ("blank message", "feedback", is_message & blank[1]),
        ("a NUL in the code", "code", pl.col("code").str.contains("\0", literal=True)),
        (f"code longer than {max_code_bytes:,} bytes", "code", size > max_code_bytes),
        ("score is not a number", "score", ~_null("score") & ~pl.col("points").is_finite()),
        ("score is not a number", "score", ~_null("score") & pl.col("points").is_null()),
        ("impossible score", "score", ~pl.col("points").is_between(0, pl.col("scale"))),
        (
            "label is neither right nor wrong",
            "label",
            pl.col("label").is_not_null() & _null("logged_correct"),
        ),
        ("unreadable time", "timestamp", pl.col("timestamp").is_not_null() & _null("submitted_at")),
        ("impossible time", "timestamp", ~possible),
        ("attempt is not a whole number", "attempt", ~_null("attempt") & ~_whole("number")),
    ]
    if "attempt" in fields:
        tests.append(("no attempt number", "attempt", _null("attempt")))
    if needs_times or "attempt" not in fields:
        tests.append(("no time", "timestamp", _null("timestamp")))
    if arms:
        known = pl.col("arm").is_in(sorted(arms)).fill_null(False)
        tests.append(("no arm that the course file names", "arm", ~known))
    failed = pl.coalesce(
        pl.when(test).then(pl.struct(pl.lit(reason).alias("reason"), pl.lit(field).alias("field")))
        for reason, field, test in tests
    )
    shown = [name for name in ("assignment", "semester", "score", "timestamp", "attempt", "label", "arm")]
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


def used_before(rows: pl.DataFrame) -> pl.Series:
    """Whether the id of a row (`row_id`, a hash or null) is that of a row before it, by `position`."""
    # The export of another semester may count its rows from 1 again: the hash is of the semester, too.
    again = pl.col("position") > pl.col("position").min().over("row_id")
    return rows.select(pl.col("row_id").is_not_null() & again).to_series()


def _null(name: str) -> pl.Expr:
    return pl.col(name).is_null()


def _whole(name: str) -> pl.Expr:
    return (pl.col(name) == pl.col(name).floor()).fill_null(False)

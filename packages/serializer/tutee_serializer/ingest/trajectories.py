"""Puts the usable rows of a log into the order of each student's work."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from tutee_serializer.schemas import MESSAGE, STUDENT, SUBMISSIONS, TRAJECTORY

# A log counts as written in the order of time when fewer of its rows than this share are behind those above.
IN_ORDER = 0.05
# Authors of messages: a role, never a name. Any other author counts as a tutor.
ROLES = (STUDENT, "tutor", "teacher", "instructor", "assistant", "hint", "peer", "ai")
OWN = "grader"


@dataclass(frozen=True)
class OrderedLog:
    """A SUBMISSIONS table, and what was counted on the way.

    `messages` counts the rows that became messages, `early` those that came before any submission;
    `behind` counts submissions whose clock says a time before that of the submission before.
    """

    submissions: pl.DataFrame
    messages: int
    early: int
    behind: int


def arrivals(rows: pl.DataFrame) -> pl.Series:
    """When each of the log's usable rows was handed in, as far as it matters for their order.

    In a log that was written in the order of time, a row that is behind the rows above it had a wrong clock:
    it keeps its place.
    """
    seen = pl.col("submitted_at").cum_max().over("source", order_by="source_row")
    behind = (pl.col("submitted_at") < pl.col("seen")).mean().over("source")
    return (
        rows.select("source", "source_row", "submitted_at")
        .with_columns(seen.alias("seen"))
        .with_columns((behind < IN_ORDER).fill_null(False).alias("chronological"))
        .select(arrived=pl.when("chronological").then("seen").otherwise("submitted_at"))
        .to_series()
    )


def order(rows: pl.DataFrame, course: str, has_attempts: bool) -> OrderedLog:
    """Submissions in the order of each student's work, with the messages that followed each.

    Attempt numbers order them where there are any; else `arrived`, the rows' `arrivals`, does. Clocks that
    are behind are counted.
    """
    by = "number" if has_attempts else "arrived"
    ordered = (
        rows.lazy()
        .with_columns(is_submission=pl.col("row_kind") == "submission")
        .sort(*TRAJECTORY, by, ~pl.col("is_submission"), "source", "source_row")
        .with_columns(pl.col("is_submission").cum_sum().cast(pl.Int64).over(TRAJECTORY).alias("order"))
        .collect()
    )
    submissions = ordered.filter("is_submission")
    messages = ordered.filter(~pl.col("is_submission"))
    messages_by_order = _messages(ordered)
    identified = submissions.join(
        messages_by_order, on=[*TRAJECTORY, "order"], how="left", maintain_order="left"
    ).with_columns(
        pl.lit(course).alias("course"),
        pl.Series("submission_id", _identify(course, submissions), pl.String),
        (pl.col("points") / pl.col("scale") * 100).alias("logged_score"),
        pl.col("messages").fill_null([]),
    )
    skewed = (
        submissions.select(pl.col("submitted_at").diff().over(TRAJECTORY) < timedelta()).to_series().sum()
    )
    table = identified.select(pl.col(name).cast(kind) for name, kind in SUBMISSIONS.items())
    early = messages.filter(pl.col("order") == 0).height
    return OrderedLog(table, messages.height - early, early, int(skewed))


def _messages(ordered: pl.DataFrame) -> pl.DataFrame:
    """What others than the grader wrote, after the submission that it follows, in the order of its rows."""
    role = pl.col("author").str.to_lowercase()
    kept = ordered.filter(
        pl.col("feedback").str.contains(r"\S"), role.ne_missing(OWN), pl.col("order") > 0
    ).with_columns(pl.when(role.is_in(ROLES)).then(role).otherwise(pl.lit("tutor")).alias("author"))
    message = pl.struct("author", sent_at="submitted_at", text="feedback").cast(MESSAGE)
    return kept.group_by([*TRAJECTORY, "order"], maintain_order=True).agg(messages=message)


def _identify(course: str, rows: pl.DataFrame) -> list[str]:
    """A hash of what makes each submission this one: from the pseudonym, so that it gives no id away."""
    texts = rows.select(pl.concat_str(pl.lit(course), *TRAJECTORY, "order", separator="\0")).to_series()
    return [hashlib.sha256(text.encode()).hexdigest()[:20] for text in texts.to_list()]

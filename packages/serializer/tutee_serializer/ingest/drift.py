"""How each semester differs from the one before it, and when that is worth a warning or a stop."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal

import polars as pl

from tutee_grader.failures import error
from tutee_serializer.ingest.account import RowAccount
from tutee_serializer.ingest.expectations import Check, raise_errors

Measure = Literal[
    "submissions_per_student",
    "mean_score",
    "distance_of_scores",
    "median_code_length",
    "share_with_messages",
    "new_words_in_messages",
    "new_assignments",
    "distance_of_errors",
]

# How far a semester may be from the one before until it is worth a warning. The first two and the code length
# are ratios less one. `distance_of_scores` is the largest distance between the two cumulative distributions
# (Kolmogorov and Smirnov's statistic), `share_with_messages` a difference of shares, `new_words_in_messages`
# the share of words, in what others than the grader wrote, that no semester before has, and
# `new_assignments` the share of submissions that are for assignments of no semester before.
# `distance_of_errors` is the total variation distance between the kinds of error of programs below grade
# 100, by the grader's verdicts. (Its feedback cannot drift: all semesters are graded by the present tests.)
WARNINGS: dict[Measure, float] = {
    "submissions_per_student": 0.5,
    "mean_score": 0.3,
    "distance_of_scores": 0.3,
    "median_code_length": 0.5,
    "share_with_messages": 0.3,
    "new_words_in_messages": 0.3,
    "new_assignments": 0.0,
    "distance_of_errors": 0.3,
}
# What is known only once the submissions are graded.
DISTANCE_OF_ERRORS = "distance_of_errors"
# One row per semester that has one before it; `added` names the assignments that no semester before has.
DRIFT = pl.Schema(
    {
        "semester": pl.String(),
        "before": pl.String(),
        **{str(name): pl.Float64() for name in WARNINGS if name != DISTANCE_OF_ERRORS},
        "added": pl.List(pl.String()),
    }
)
_RATIOS = ("submissions_per_student", "mean_score", "median_code_length")


def drift_table(submissions: pl.LazyFrame, semesters: list[str]) -> pl.DataFrame:
    """How each semester differs from the one before it, as far as the log says (DRIFT).

    `semesters` are in the order of time. Scores are the log's: 0 to 100, or 0 and 100 where the log only says
    right or wrong. A measure is null where one of the two semesters has no value for it.
    """
    score = pl.coalesce("logged_score", pl.col("logged_correct").cast(pl.Float64) * 100)
    measured = submissions.select(
        "semester",
        "student",
        "assignment",
        score.alias("score"),
        pl.col("code").str.len_chars(),
        pl.col("messages").list.len() > 0,
    )
    summaries = (
        measured.group_by("semester")
        .agg(
            (pl.len() / pl.col("student").n_unique()).alias("submissions_per_student"),
            pl.col("score").mean().alias("mean_score"),
            pl.col("code").median().alias("median_code_length"),
            pl.col("messages").mean().alias("share_with_messages"),
        )
        .collect(engine="streaming")
    )
    values = {row["semester"]: row for row in summaries.iter_rows(named=True)}
    scores = measured.select("semester", "score").drop_nulls().collect(engine="streaming")
    rows: list[dict[str, Any]] = []
    assignments = submissions.group_by("semester", "assignment").len().collect(engine="streaming")
    known: set[str] = set()
    words = _words(submissions)
    known_words: set[str] = set()
    for before, now in pairwise(semester for semester in semesters if semester in values):
        work = assignments.filter(semester=now)
        known |= set(assignments.filter(semester=before)["assignment"])
        added = sorted(set(work["assignment"]) - known)
        old, new = values[before], values[now]
        row: dict[str, Any] = {"semester": now, "before": before, "added": added}
        row |= {name: _ratio(old[name], new[name]) for name in _RATIOS}
        row["distance_of_scores"] = _distance(
            *(scores.filter(semester=one)["score"] for one in (before, now))
        )
        row["share_with_messages"] = new["share_with_messages"] - old["share_with_messages"]
        known_words |= words.get(before, {}).keys()
        row["new_words_in_messages"] = _new(words.get(now), known_words)
        of_added = pl.col("len").filter(pl.col("assignment").is_in(added))
        row["new_assignments"] = work.select(of_added.sum() / pl.col("len").sum()).item()
        rows.append(row)
    return pl.DataFrame(rows, schema=DRIFT)


def with_errors(drift: pl.DataFrame, submissions: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """DRIFT with the column `distance_of_errors`, from the VERDICTS of the submissions."""
    kinds = (
        submissions.select("submission_id", "semester")
        .join(verdicts, on="submission_id")
        .select("semester", kind=error())
        .drop_nulls()
    )
    distances = [
        _total_variation(*(kinds.filter(semester=one)["kind"] for one in pair))
        for pair in drift.select("before", "semester").iter_rows()
    ]
    return drift.with_columns(pl.Series(DISTANCE_OF_ERRORS, distances, pl.Float64))


def drift_checks(
    drift: pl.DataFrame, warn: Mapping[Measure, float], stop: Mapping[Measure, float]
) -> Iterator[Check]:
    """A check of each measure that `drift` has, for each semester.

    It is a warning beyond `warn`, or beyond WARNINGS where `warn` has no entry. The newest semester's is an
    error beyond `stop`; what earlier ones were like was decided on before.
    """
    for number, row in enumerate(drift.iter_rows(named=True), 1):
        for name, usual in WARNINGS.items():
            value = row.get(name)
            if value is None:
                continue
            stops = number == drift.height and name in stop and abs(value) > stop[name]
            most = stop[name] if stops else warn.get(name, usual)
            observed = f"{value:+.2f}, beyond {most:g}"
            if name == "new_assignments":
                observed += f", for {', '.join(row['added'])}"
            if stops:
                observed += (
                    f"; where that is as it should be, raise `max_drift: {{{name}: {most:g}}}` in section "
                    "`ingest` of params.yaml"
                )
            yield Check(
                suite="drift",
                expectation=f"{name} of {row['semester']} against {row['before']}",
                severity="error" if stops else "warning",
                passed=abs(value) <= most,
                observed=observed,
                samples=[],
            )


def validate_errors(
    account: RowAccount,
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    warn_drift: Mapping[Measure, float],
    max_drift: Mapping[Measure, float],
) -> list[str]:
    """What is worth a warning in the drift of the kinds of error, once the submissions are graded.

    The thresholds are those of `drift_checks`. Raises ValidationError where the newest semester's is beyond
    `max_drift`.
    """
    drift = with_errors(pl.DataFrame(account.drift, DRIFT), submissions, verdicts)
    checks = list(drift_checks(drift.select("semester", "before", DISTANCE_OF_ERRORS), warn_drift, max_drift))
    raise_errors(checks, f"course {account.course}")
    return [str(check) for check in checks if not check.passed]


def _ratio(before: float | None, now: float | None) -> float | None:
    return now / before - 1 if before and now is not None else None


def _distance(before: pl.Series, now: pl.Series) -> float | None:
    """The largest difference between two cumulative distributions, 0..1 (Kolmogorov and Smirnov)."""
    if before.is_empty() or now.is_empty():
        return None
    both = pl.concat([before, now]).unique().sort()
    shares = [values.sort().search_sorted(both, side="right") / len(values) for values in (before, now)]
    largest = (shares[0] - shares[1]).abs().max()
    assert isinstance(largest, float)
    return largest


def _words(submissions: pl.LazyFrame) -> dict[str, dict[str, int]]:
    """How often each word occurs, in small letters, in the messages to the students of each semester."""
    texts = submissions.select("semester", pl.col("messages").list.eval(pl.element().struct.field("text")))
    words = pl.col("messages").str.to_lowercase().str.extract_all(r"\w+")
    listed = texts.explode("messages").drop_nulls().select("semester", words).explode("messages").drop_nulls()
    counts = listed.group_by("semester", "messages").len().collect(engine="streaming")
    counted: dict[str, dict[str, int]] = {}
    for semester, word, count in counts.iter_rows():
        counted.setdefault(semester, {})[word] = count
    return counted


def _new(words: dict[str, int] | None, known: set[str]) -> float | None:
    if not words or not known:
        return None
    return sum(count for word, count in words.items() if word not in known) / sum(words.values())


def _total_variation(before: pl.Series, now: pl.Series) -> float | None:
    """Half the sum of the differences between two distributions over kinds, 0..1."""
    if before.is_empty() or now.is_empty():
        return None
    shares = [dict(values.value_counts(normalize=True, name="share").iter_rows()) for values in (before, now)]
    old, new = shares
    return sum(abs(old.get(kind, 0) - new.get(kind, 0)) for kind in {*old, *new}) / 2

"""How each semester differs from the one before it, and when that is worth a warning or a stop."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal

import polars as pl

from tutee_serializer.ingest.data_docs import Check

Measure = Literal[
    "submissions_per_student",
    "mean_score",
    "distance_of_scores",
    "median_code_length",
    "share_with_messages",
    "new_assignments",
]

# How far a semester may be from the one before until it is worth a warning. The first two and the code length
# are ratios less one. `distance_of_scores` is the largest distance between the two cumulative distributions
# (Kolmogorov and Smirnov's statistic), `share_with_messages` a difference of shares, and `new_assignments`
# the share of submissions that are for assignments of no semester before.
WARNINGS: dict[Measure, float] = {
    "submissions_per_student": 0.5,
    "mean_score": 0.3,
    "distance_of_scores": 0.3,
    "median_code_length": 0.5,
    "share_with_messages": 0.3,
    "new_assignments": 0.0,
}
_RATIOS = ("submissions_per_student", "mean_score", "median_code_length")


def drift_table(submissions: pl.DataFrame, semesters: list[str]) -> pl.DataFrame:
    """How each semester differs from the one before it: one row a semester, one column a measure.

    `semesters` are in the order of time. Scores are the log's: 0 to 100, or 0 and 100 where the log only says
    right or wrong. A measure is null where one of the two semesters has no value for it. `added` names the
    assignments that no semester before has.
    """
    score = pl.coalesce("logged_score", pl.col("logged_correct").cast(pl.Float64) * 100)
    measured = submissions.lazy().select(
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
        .collect()
    )
    values = {row["semester"]: row for row in summaries.iter_rows(named=True)}
    scores = measured.select("semester", "score").drop_nulls().collect()
    rows: list[dict[str, Any]] = []
    assignments = submissions.select("semester", "assignment")
    known: set[str] = set()
    for before, now in pairwise(semester for semester in semesters if semester in values):
        work = assignments.filter(semester=now)["assignment"]
        known |= set(assignments.filter(semester=before)["assignment"])
        added = sorted(set(work) - known)
        old, new = values[before], values[now]
        row: dict[str, Any] = {"semester": now, "before": before, "added": added}
        row |= {name: _ratio(old[name], new[name]) for name in _RATIOS}
        row["distance_of_scores"] = _distance(
            *(scores.filter(semester=one)["score"] for one in (before, now))
        )
        row["share_with_messages"] = new["share_with_messages"] - old["share_with_messages"]
        row["new_assignments"] = work.is_in(added).mean()
        rows.append(row)
    measures = {str(name): pl.Float64() for name in WARNINGS}
    schema = {"semester": pl.String(), "before": pl.String(), **measures, "added": pl.List(pl.String())}
    return pl.DataFrame(rows, schema=schema)


def drift_checks(
    drift: pl.DataFrame, warn: Mapping[Measure, float], stop: Mapping[Measure, float]
) -> Iterator[Check]:
    """A check of each measure of each semester: a warning beyond `warn`, or WARNINGS where it has no entry.

    The newest semester's is an error beyond `stop`; what earlier ones were like was decided on before.
    """
    for number, row in enumerate(drift.iter_rows(named=True), 1):
        for name, usual in WARNINGS.items():
            value = row[name]
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

"""What became of the students of an artificial class: one row per trajectory."""

import polars as pl

from tutee_evaluator.experiments.play import KEY
from tutee_evaluator.schemas import Outcome, StopReason
from tutee_grader.failures import error

LEVELS = ("low", "middle", "high")
# Columns of `trajectories` that are outcomes, each with what it counts and what that is a share of.
SUMS = {
    "solved": ("solved", "one"),  # share of trajectories that reach grade 100
    "steps": ("steps", "solved"),  # submissions until then, of those that do
    "area": ("area", "one"),  # mean grade over the steps, from 0 to 1
    "gave_up": ("gave_up", "one"),
    "resubmissions": ("resubmissions", "submissions"),  # the same program as the one before
    "unreadable": ("unreadable", "one"),  # a turn held no program: what the model does, and no student
}
SOLVED_BY, ERROR = "solved_by=", "error="  # followed by a step, or a kind of error


def trajectories(played: pl.DataFrame, steps: int) -> pl.DataFrame:
    """One row for each trajectory of PLAYED, of `steps` submissions at most.

    `area` is the area under the grade curve over the steps: once a trajectory is over it stays at the last
    grade, 0 where there was none. `errors` counts the submissions of each kind of error. `level` is the third
    of the students, by the mean grade they start from, that the student belongs to; null where they begin at
    the task.
    """
    rows = played.sort(*KEY, "step").with_columns(
        error=error(),
        after=pl.col("code") == pl.col("code").shift(1).over(KEY),
        last_grade=pl.col("grade").forward_fill().over(KEY).fill_null(0.0),
    )
    own = pl.col("step") > 0
    graded = own & (pl.col("outcome") == Outcome.PROGRAM)
    table = rows.group_by(KEY, maintain_order=True).agg(
        start=pl.col("grade").filter(pl.col("step") == 0).first(),
        solved=(pl.col("grade") == 100).any().cast(pl.Float64),
        steps=pl.col("step").filter(pl.col("grade") == 100).first().fill_null(0).cast(pl.Float64),
        grades=pl.col("last_grade").filter(own),
        last=pl.col("last_grade").last(),
        gave_up=(pl.col("stop_reason").first() == StopReason.GAVE_UP).cast(pl.Float64),
        unreadable=(pl.col("stop_reason").first() == StopReason.UNREADABLE).cast(pl.Float64),
        resubmissions=(pl.col("after") & graded).sum().cast(pl.Float64),
        submissions=graded.sum().cast(pl.Float64),
        errors=pl.col("error").filter(graded).drop_nulls(),
        one=pl.lit(1.0),
    )
    left = steps - pl.col("grades").list.len().cast(pl.Int64)
    area = (pl.col("grades").list.sum() + left * pl.col("last")) / (100 * steps)
    return table.with_columns(area=area).join(_levels(table), on="student", how="left")


def outcome_columns(table: pl.DataFrame, steps: int) -> pl.DataFrame:
    """`trajectories` with a column for each further outcome, solved by each step and each kind of error."""
    kinds = sorted(table["errors"].explode().drop_nulls().unique())
    solved_by = [
        ((pl.col("solved") == 1) & (pl.col("steps") <= step)).cast(pl.Float64).alias(f"{SOLVED_BY}{step}")
        for step in range(1, steps + 1)
    ]
    errors = [
        pl.col("errors").list.count_matches(kind).cast(pl.Float64).alias(f"{ERROR}{kind}") for kind in kinds
    ]
    return table.with_columns(*solved_by, *errors)


def sums_of(table: pl.DataFrame) -> dict[str, tuple[str, str]]:
    """Each outcome of `outcome_columns`, with the columns that it is the ratio of."""
    more = {name: (name, "one") for name in table.columns if name.startswith(SOLVED_BY)}
    more |= {name: (name, "submissions") for name in table.columns if name.startswith(ERROR)}
    return SUMS | more


def _levels(table: pl.DataFrame) -> pl.DataFrame:
    means = table.group_by("student").agg(pl.col("start").mean()).sort("start", "student")
    third = (pl.int_range(pl.len()) * len(LEVELS)) // pl.len()
    named = third.replace_strict(dict(enumerate(LEVELS)), return_dtype=pl.String)
    return means.select("student", level=pl.when(pl.col("start").is_not_null()).then(named))

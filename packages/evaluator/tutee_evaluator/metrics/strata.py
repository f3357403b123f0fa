"""The steps that a figure is over: strata, and the steps that are covered."""

import polars as pl

# The names of strata.
OVERALL = "overall"
CHANGED = "changed"  # the real grade differs from the one before
ASSIGNMENT = "assignment="  # followed by its name
STEP = "step="  # followed by its number
START = "start="  # followed by the submission before which the rollout starts, the late ones together
STARTS = ("2", "3", "4", "5", "6-10", "11+")
SOLVED, UNSOLVED = "student=solved", "student=unsolved"  # whether the student reaches grade 100 at any time

COVERED = pl.col("code").is_not_null()  # the method has a program


def strata() -> list[tuple[pl.Expr | bool, pl.Expr]]:
    """Pairs of a filter of steps and the name of the stratum that each step left belongs to."""
    start = pl.col("start")
    starts = pl.when(start > 10).then(pl.lit("11+")).when(start > 5).then(pl.lit("6-10"))
    return [
        (True, pl.lit(OVERALL)),
        (pl.col("changed"), pl.lit(CHANGED)),
        (True, pl.lit(ASSIGNMENT) + pl.col("assignment")),
        (True, pl.lit(STEP) + pl.col("step").cast(pl.String)),
        (True, pl.lit(START) + starts.otherwise(start.cast(pl.String))),
        (True, pl.when("real_solved").then(pl.lit(SOLVED)).otherwise(pl.lit(UNSOLVED))),
    ]


def has_whole_rollouts(stratum: str) -> bool:
    """Whether the stratum has all steps of the rollouts that it has any of."""
    return not stratum.startswith((CHANGED, STEP))

"""The steps that a figure is over: strata, and the counts by which sums are divided."""

import polars as pl

# The names of strata.
OVERALL = "overall"
CHANGED = "changed"  # the real grade differs from the one before
ASSIGNMENT = "assignment="  # followed by its name
STEP = "step="  # followed by its number

REAL_STEP = pl.col("real_code").is_not_null()  # the real student submitted something
BOTH = REAL_STEP & pl.col("code").is_not_null()  # and the method a program


def strata() -> list[tuple[pl.Expr | bool, pl.Expr]]:
    """Pairs of a filter of steps and the name of the stratum that each step left belongs to."""
    return [
        (True, pl.lit(OVERALL)),
        (pl.col("changed"), pl.lit(CHANGED)),
        (True, pl.lit(ASSIGNMENT) + pl.col("assignment")),
        (True, pl.lit(STEP) + pl.col("step").cast(pl.String)),
    ]

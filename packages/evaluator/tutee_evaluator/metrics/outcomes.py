"""How submissions end, beside those of the real students: grades, solved starts, shares of outcomes.

And how many turns could be read, of all that a method wrote.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from tutee_evaluator.metrics.bootstrap import Estimate, Sums
from tutee_evaluator.metrics.strata import BOTH, REAL_STEP
from tutee_evaluator.schemas import Outcome

REAL = "real"  # the method of the rows that describe the real students
SHARE = "share="  # followed by the kind of outcome


def columns(steps: pl.DataFrame) -> Mapping[str, pl.Expr]:
    kinds = sorted({*steps["kind"].drop_nulls(), *steps["real_kind"].drop_nulls()})
    return {
        "real": REAL_STEP,
        "both": BOTH,
        "submitted": REAL_STEP & pl.col("kind").is_not_null(),
        "grade": pl.when(BOTH).then("grade"),
        "real_grade": pl.when(BOTH).then("real_grade"),
        "started": pl.col("step").is_not_null(),
        "solved": pl.col("solved"),
        "real_solved": pl.col("real_solved"),
        "failed": pl.col("familiar").is_not_null(),
        "familiar": pl.col("familiar"),
        "written": pl.col("kind").is_not_null(),
        "unreadable": pl.col("kind") == Outcome.UNREADABLE,
        "repaired": pl.col("repair").is_not_null(),
        **{f"is {kind}": REAL_STEP & (pl.col("kind") == kind) for kind in kinds},
        **{f"was {kind}": pl.col("real_kind") == kind for kind in kinds},
    }


def metrics(sums: Sums) -> Iterator[Estimate]:
    yield sums.estimate("grade", "grade", "both")
    yield sums.estimate("real_grade", "real_grade", "both")
    yield sums.estimate("solved", "solved", "started")
    yield sums.estimate("familiar_failures", "familiar", "failed")
    yield sums.estimate("unreadable", "unreadable", "written")
    yield sums.estimate("repaired", "repaired", "written")
    yield from _shares(sums)
    yield _of_real(sums, "solved", "real_solved", "started")


def _shares(sums: Sums) -> Iterator[Estimate]:
    """The share of each kind of outcome, and the total variation distance to the real students' shares."""
    kinds = [column.removeprefix("is ") for column in sums.columns if column.startswith("is ")]
    distance = np.zeros_like(sums.of("real"))
    for kind in kinds:
        share = sums.estimate(SHARE + kind, f"is {kind}", "submitted")
        yield share
        yield _of_real(sums, SHARE + kind, f"was {kind}", "real")
        distance = distance + np.abs(share.draws - sums.ratio(f"was {kind}", "real")) / 2
    yield Estimate("outcome_distance", sums.methods, sums.strata, distance, sums.of("submitted")[0])


def _of_real(sums: Sums, metric: str, over: str, under: str) -> Estimate:
    """A metric of the real students. Their steps are the same for every method, so the first one's serve."""
    draws = sums.ratio(over, under)[:, :1]
    return Estimate(metric, [REAL], sums.strata, draws, sums.of(under)[0, :1])

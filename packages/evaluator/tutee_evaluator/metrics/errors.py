"""Which errors are made, beside those of the real students; all from the grader's own outcomes.

All over the drawn samples. The kinds of error and the sets of failing tests are compared at the steps at
which neither the method nor the student had come to an end before: there a perfect method makes an error as
often as the students.
"""

from collections.abc import Iterator, Mapping

import polars as pl

from tutee_evaluator.metrics import signatures
from tutee_evaluator.metrics.bootstrap import Estimate, Sums
from tutee_evaluator.metrics.distributions import compare, counts
from tutee_evaluator.metrics.outcomes import rows as drawn
from tutee_evaluator.metrics.strata import COVERED

_ERROR = "error"
_COLUMNS = (_ERROR, f"real_{_ERROR}")


def rows(steps: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    return drawn(steps, scores).with_columns(
        pl.when("at_risk").then(column).alias(column) for column in _COLUMNS
    )


def columns(steps: pl.DataFrame) -> Mapping[str, pl.Expr]:
    mine, real = pl.col("failed"), pl.col("real_failed")
    both = COVERED & (real.list.len() > 0)
    union = mine.list.set_union(real).list.len()
    return {
        "both": both,
        "iou": pl.when(both).then(mine.list.set_intersection(real).list.len() / union),
        "failure": pl.col("familiar").is_not_null(),
        "familiar": pl.col("familiar"),
        **counts(_ERROR, _kinds(steps)),
    }


def metrics(sums: Sums) -> Iterator[Estimate]:
    yield sums.estimate("error_iou", "iou", "both")
    yield sums.estimate("familiar_failures", "familiar", "failure")
    yield from compare(sums, _ERROR, _kinds(sums.rows))
    yield from signatures.metrics(sums)


def _kinds(steps: pl.DataFrame) -> list[str]:
    return sorted({kind for column in _COLUMNS for kind in steps[column].drop_nulls()})

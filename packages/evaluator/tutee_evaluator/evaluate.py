"""Evaluates rollouts: pairs their steps with the real students' and measures them."""

import polars as pl

from tutee_evaluator.metrics import ReportConfig, measure
from tutee_evaluator.pairing import pair


def evaluate(
    rollouts: pl.DataFrame,
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    config: ReportConfig,
    progress: bool = False,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """STEPS and METRICS of one or more methods' ROLLOUTS.

    Raises InputError where the methods were not rolled out from the same starts.
    """
    steps = pair(rollouts, dialogs, submissions, verdicts, progress)
    return steps, measure(steps, config)

"""Evaluates rollouts: pairs their steps with the real students', scores their samples and measures them."""

import polars as pl

from tutee_evaluator.metrics import ReportConfig, measure
from tutee_evaluator.pairing import pair
from tutee_evaluator.scores import score


def evaluate(
    rollouts: pl.DataFrame,
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    config: ReportConfig,
    progress: bool = False,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """STEPS, SCORES and METRICS of one or more methods' ROLLOUTS.

    Raises InputError where the methods were not rolled out from the same starts.
    """
    steps = pair(rollouts, dialogs, submissions, verdicts, progress)
    scores = score(steps, progress)
    return steps, scores, measure(steps, scores, config)

"""Scores of the samples as a forecast (SCORES): means, and the skill over each baseline."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import polars as pl

from tutee_evaluator.metrics.bootstrap import Estimate, Sums, divide
from tutee_evaluator.schemas import COPY, MIX, NEAREST, TRANSITION

SCORED = ("crps", "energy", "energy_tokens")
CALIBRATION = ("grade_hit", "grade_among")
SKILL_OVER = "_skill_over_"  # followed by the baseline


def rows(steps: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    return scores


def columns(scores: pl.DataFrame) -> Mapping[str, pl.Expr]:
    return {
        **{name: pl.col(name) for name in (*SCORED, *CALIBRATION)},
        "scored": pl.col("n") > 1,
        "steps": pl.col("step").is_not_null(),
    }


def metrics(sums: Sums) -> Iterator[Estimate]:
    for name in CALIBRATION:
        yield sums.estimate(name, name, "steps")
    for name in SCORED:
        estimate = sums.estimate(name, name, "scored")
        yield estimate
        yield from _skills(estimate)


def _skills(estimate: Estimate) -> Iterator[Estimate]:
    """1 - score / baseline's score: 1 is perfect, 0 no better than the baseline."""
    for baseline in (COPY, NEAREST, TRANSITION, MIX):
        if baseline in estimate.methods:
            to_beat = estimate.draws[:, [estimate.methods.index(baseline)], :]
            draws = 1 - divide(estimate.draws, to_beat)
            yield replace(estimate, metric=f"{estimate.metric}{SKILL_OVER}{baseline}", draws=draws)

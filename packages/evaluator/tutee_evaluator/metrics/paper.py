"""The metrics of Koutcheme et al. (arXiv 2604.10720), corrected CodeBLEU, and the skill over COPY.

They are over the likeliest turns. The headline of a similarity is the unweighted mean of its means at each
step, as published; pooled, it is the mean over all covered steps, most of which are early ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from tutee_evaluator.metrics.bootstrap import Array, Estimate, Sums, divide, mean
from tutee_evaluator.metrics.strata import COVERED
from tutee_evaluator.schemas import COPY, GREEDY

SIMILARITY = ("grade_proximity", "codebleu", "codebleu_corrected")
POOLED = "_pooled"
DEGRADATION = "_degradation"
SKILL = "_skill"
_SKILLED = ("grade_proximity", "codebleu")


def rows(steps: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    return steps.filter(pl.col("sample") == GREEDY)


def columns(steps: pl.DataFrame) -> Mapping[str, pl.Expr]:
    return {
        "steps": pl.col("step").is_not_null(),
        "covered": COVERED,
        "grade_proximity": pl.col("proximity"),
        "codebleu": pl.col("codebleu"),
        "codebleu_corrected": pl.col("codebleu_corrected"),
    }


def metrics(sums: Sums) -> Iterator[Estimate]:
    yield sums.estimate("coverage", "covered", "steps")
    yield _degradation(sums, "coverage", sums.ratios("covered", "steps"), "steps")
    for name in SIMILARITY:
        means = sums.ratios(name, "covered")
        headline = sums.estimated(name, mean(means), "covered")
        yield headline
        yield sums.estimate(name + POOLED, name, "covered")
        yield _degradation(sums, name, means, "covered")
        if name in _SKILLED:
            yield from _skill(headline)


def _degradation(sums: Sums, metric: str, means: Array, under: str) -> Estimate:
    """The mean over the later steps of (value at the step - value at step 1); `under` counts the later steps.

    Strata without both have none.
    """
    later = [place for place, step in enumerate(sums.steps) if step > 1]
    if 1 not in sums.steps:
        means = np.full_like(means, np.nan)
    draws = mean(means[..., later] - means[..., [0]])
    n = sum((sums.of(under, sums.steps[place])[0] for place in later), np.zeros(draws.shape[1:]))
    n = np.where(np.isnan(draws[0]), 0, n)
    return Estimate(metric + DEGRADATION, sums.methods, sums.strata, draws, n)


def _skill(estimate: Estimate) -> Iterator[Estimate]:
    """(value - COPY) / (1 - COPY): 1 is perfect, 0 no better than to submit the same program again."""
    if COPY in estimate.methods:
        copy = estimate.draws[:, [estimate.methods.index(COPY)], :]
        draws = divide(estimate.draws - copy, 1 - copy)
        yield replace(estimate, metric=estimate.metric + SKILL, draws=draws)

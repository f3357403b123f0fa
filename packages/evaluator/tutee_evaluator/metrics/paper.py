"""The metrics of Koutcheme et al. (arXiv 2604.10720), corrected CodeBLEU, and the skill over COPY."""

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from tutee_evaluator.metrics.bootstrap import Estimate, Sums, divide
from tutee_evaluator.metrics.strata import BOTH, OVERALL, REAL_STEP, STEP
from tutee_evaluator.schemas import COPY

SIMILARITY = ("grade_proximity", "codebleu", "codebleu_corrected")
SKILL = "_skill"
DEGRADATION = "_degradation"


def columns(steps: pl.DataFrame) -> Mapping[str, pl.Expr]:
    return {
        "real": REAL_STEP,
        "both": BOTH,
        "grade_proximity": pl.when(BOTH).then("proximity"),
        "codebleu": pl.when(BOTH).then("codebleu"),
        "codebleu_corrected": pl.when(BOTH).then("codebleu_corrected"),
    }


def metrics(sums: Sums) -> Iterator[Estimate]:
    yield sums.estimate("coverage", "both", "real")
    for name in SIMILARITY:
        estimate = sums.estimate(name, name, "both")
        yield estimate
        yield from _skill(estimate)
        yield from _degradation(estimate)


def _skill(estimate: Estimate) -> Iterator[Estimate]:
    """(value - COPY) / (1 - COPY): 1 is perfect, 0 no better than to submit the same program again."""
    if COPY not in estimate.methods:
        return
    copy = estimate.draws[:, [estimate.methods.index(COPY)], :]
    draws = divide(estimate.draws - copy, 1 - copy)
    yield Estimate(estimate.metric + SKILL, estimate.methods, estimate.strata, draws, estimate.n)


def _degradation(estimate: Estimate) -> Iterator[Estimate]:
    """The mean over the later steps of (value at the step - value at step 1)."""
    numbers = [int(name.removeprefix(STEP)) for name in estimate.strata if name.startswith(STEP)]
    at = {number: estimate.strata.index(f"{STEP}{number}") for number in numbers}
    later = [at[number] for number in numbers if number > 1]
    if not later or 1 not in at:
        return
    change = estimate.draws[:, :, later] - estimate.draws[:, :, [at[1]]]
    known = ~np.isnan(change)
    draws = divide(np.where(known, change, 0).sum(-1), known.sum(-1).astype(float))
    n = estimate.n[:, later].sum(-1)
    yield Estimate(estimate.metric + DEGRADATION, estimate.methods, [OVERALL], draws[..., None], n[..., None])

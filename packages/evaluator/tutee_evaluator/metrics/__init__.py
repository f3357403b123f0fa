"""How close artificial students come to the real ones: METRICS, one long table, with intervals."""

import polars as pl
from pydantic import PositiveInt
from tqdm import tqdm

from tutee_evaluator.metrics import (
    diversity,
    errors,
    likelihood,
    outcomes,
    paper,
    proper,
    style,
    trajectories,
)
from tutee_evaluator.metrics.bootstrap import Family, resample, sum_steps
from tutee_grader.config import Section

METRICS = pl.Schema(
    {
        "method": pl.String,
        "metric": pl.String,
        "stratum": pl.String,
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "n": pl.Int64,
    }
)

# A new metric is a column and a line in its family's file; a new family is a file and a row here.
FAMILIES = (
    Family(paper.rows, paper.columns, paper.metrics),
    Family(outcomes.rows, outcomes.columns, outcomes.metrics),
    Family(errors.rows, errors.columns, errors.metrics),
    Family(trajectories.rows, trajectories.columns, trajectories.metrics),
    Family(proper.rows, proper.columns, proper.metrics),
    Family(likelihood.rows, likelihood.columns, likelihood.metrics),
    Family(style.rows, style.columns, style.metrics),
    Family(diversity.rows, diversity.columns, diversity.metrics),
)


# What methods are compared by, one with another; of the first four less is better.
DIFFERENCES = ("energy", "energy_tokens", "crps", "nats", "coverage", "grade_proximity", "codebleu")


class ReportConfig(Section):
    """Section `report` of params.yaml: resamples of the bootstrap, and the seed of what is drawn."""

    resamples: PositiveInt = 2000
    seed: int = 2022


def measure(
    steps: pl.DataFrame,
    scores: pl.DataFrame,
    config: ReportConfig,
    reference: str | None = None,
    progress: bool = False,
) -> pl.DataFrame:
    """METRICS of STEPS (of `pairing`) and of the SCORES (of `scores`) made from them.

    Each value is over all steps of a method and stratum; `low` and `high` are the 2.5 and 97.5
    percentiles over resamples of the students; `n` counts the steps behind the value. A value that is
    not defined, such as the skill where COPY is perfect, is null. With a `reference`, a method of the table,
    the metrics of DIFFERENCES have the paired difference to it beside them, as METRIC_minus_REFERENCE.
    """
    students = steps["student"].unique().sort().to_list()
    weights = resample(len(students), config.resamples, config.seed)
    tables = []
    bar = tqdm(FAMILIES, desc="metrics", unit="family", disable=None if progress else True)
    for family in bar:
        rows = family.rows(steps, scores)
        if not rows.is_empty():
            sums = sum_steps(rows, family.columns(rows), students, weights)
            estimates = list(family.metrics(sums))
            tables += [estimate.table() for estimate in estimates]
            if reference is not None:
                tables += [
                    estimate.minus(reference).table()
                    for estimate in estimates
                    if estimate.metric in DIFFERENCES and reference in estimate.methods
                ]
    return pl.concat(tables).filter(pl.col("n") > 0).cast(METRICS)

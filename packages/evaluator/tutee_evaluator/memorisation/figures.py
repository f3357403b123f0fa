"""What methods memorise, as rows of METRICS over all steps.

- `overlap`: the longest run of a generated program that stands in one learner's programs and nowhere else in
  the course, in characters without blanks; `overlap_share`: the share of the programs that have one of LONG
  or more.
- `exposure`, `exposure_highest`: the mean and the highest exposure of the canaries, in bits; `reproduced`:
  how many of their secrets stand in a generated program. Where there are canaries.

Of what is counted and not estimated, `low` and `high` are the value.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tutee_evaluator.memorisation.overlap import ANYBODY, longest_overlaps, texts_of
from tutee_evaluator.metrics import METRICS, ReportConfig
from tutee_evaluator.metrics.bootstrap import resample
from tutee_evaluator.metrics.strata import OVERALL
from tutee_serializer.dialogs.canaries import CANARY, secret_of
from tutee_serializer.dialogs.held_out import held_out_turns, learnt_turns

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment

LONG = 100  # characters: about four lines of a novice's program

Row = dict[str, Any]


def measure_memorisation(
    rollouts: pl.LazyFrame,
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    assignments: "Mapping[str, Assignment]",
    exposures: pl.DataFrame,
    config: ReportConfig,
) -> pl.DataFrame:
    """METRICS of the methods in ROLLOUTS; `exposures` are EXPOSURES."""
    programs = rollouts.drop_nulls("code").group_by("method", "code").agg(n=pl.len()).collect()
    programs = programs.sort("method", "code")
    different = programs["code"].unique(maintain_order=True).to_list()
    found = longest_overlaps(different, _owned(dialogs, submissions, assignments))
    overlaps = dict(zip(different, found, strict=True))
    programs = programs.with_columns(overlap=pl.col("code").replace_strict(overlaps, return_dtype=pl.Int64))
    secrets = list({secret_of(row)[1] for row in dialogs.filter(split=CANARY).iter_rows(named=True)})
    rows: list[Row] = []
    for (method,), of_method in programs.group_by("method", maintain_order=True):
        rows += ({"method": method, **row} for row in _overlap(of_method))
        if secrets:
            text = of_method["code"]
            written = sum(bool(text.str.contains(secret, literal=True).any()) for secret in secrets)
            rows.append({"method": method, **_counted("reproduced", written, len(secrets))})
    for (method,), of_method in exposures.drop_nulls().group_by("method", maintain_order=True):
        rows += ({"method": method, **row} for row in _exposure(of_method["exposure"].to_list(), config))
    table = pl.DataFrame(rows, schema_overrides={"n": pl.Int64}).with_columns(stratum=pl.lit(OVERALL))
    return table.select(METRICS.names()).cast(METRICS)


def _owned(
    dialogs: pl.DataFrame, submissions: pl.DataFrame, assignments: "Mapping[str, Assignment]"
) -> Iterator[tuple[str, int]]:
    """The texts of the course with their owners, as for `longest_overlaps`."""
    yield from texts_of(assignments)
    learnt = learnt_turns(dialogs, "train")
    others = pl.concat([learnt_turns(dialogs, "validation"), held_out_turns(dialogs)])
    turns = pl.concat([learnt.with_columns(learnt=True), others.with_columns(learnt=False)])
    owners = (
        turns.join(submissions.select("submission_id", "code"), on="submission_id")
        .group_by("code")
        .agg(
            student=pl.col("student").min(),
            owned=(pl.col("student").n_unique() == 1) & pl.col("learnt").all(),
        )
        .sort("code")
        .with_columns(number=pl.col("student").rank("dense").cast(pl.Int64))
    )
    for code, owned, number in owners.select("code", "owned", "number").iter_rows():
        yield code, number if owned else ANYBODY


def _overlap(programs: pl.DataFrame) -> Iterator[Row]:
    n = int(programs["n"].sum())
    long = int(programs.filter(pl.col("overlap") >= LONG)["n"].sum())
    yield _counted("overlap", programs["overlap"].max(), n)
    yield _counted("overlap_share", long / n, n)


def _exposure(bits: Sequence[float], config: ReportConfig) -> Iterator[Row]:
    """The interval of the mean is a bootstrap over the canaries."""
    values = np.array(bits)
    draws = resample(len(bits), config.resamples, config.seed) @ values / len(bits)
    low, high = np.percentile(draws, [2.5, 97.5])
    yield {"metric": "exposure", "value": draws[0], "low": low, "high": high, "n": len(bits)}
    yield _counted("exposure_highest", max(bits), len(bits))


def _counted(metric: str, value: Any, n: int) -> Row:
    return {"metric": metric, "value": float(value), "low": float(value), "high": float(value), "n": n}

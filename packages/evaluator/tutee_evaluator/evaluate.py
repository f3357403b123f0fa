"""Evaluates rollouts: pairs their steps with the real students', scores their samples and measures them.

A few trajectories are paired and scored at a time, of all methods together, since these often wrote the same
programs: so memory holds the texts and the comparisons of these only. That is done here or on a Ray cluster.
"""

from collections.abc import Iterator

import polars as pl

from tutee_evaluator import similarity
from tutee_evaluator.metrics import ReportConfig, measure
from tutee_evaluator.pairing import ORDER, RealWork, check_starts, pair_with
from tutee_evaluator.rollout.shards import read_pieces
from tutee_evaluator.scores import score
from tutee_grader.cluster import from_bytes, map_on_cluster, to_bytes
from tutee_grader.progress import progress_bar

ROWS_PER_PART = 20_000  # of ROLLOUTS, or more: a trajectory stays together

Scored = Iterator[tuple[pl.DataFrame, pl.DataFrame]]  # STEPS and SCORES of some trajectories


def evaluate(
    rollouts: pl.DataFrame | pl.LazyFrame,
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    config: ReportConfig,
    reference: str | None = None,
    cluster: str = "local",
    progress: bool = False,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """STEPS, SCORES and METRICS of one or more methods' ROLLOUTS, which may be a scan of files.

    `reference` is a method: how the others differ from it is measured, too. `cluster` is `local` or the
    address of a Ray cluster, whose workers pair and score. Raises InputError where the methods were not
    rolled out from the same starts.
    """
    rollouts = rollouts.lazy()
    check_starts(rollouts)
    real = RealWork.of(dialogs, submissions, verdicts)
    steps, scores = [], []
    total = rollouts.select(pl.len()).collect().item()
    with progress_bar("scores", total, "steps", shown=progress) as bar:
        parts = _here(rollouts, real) if cluster == "local" else _on_cluster(cluster, rollouts, real)
        for paired, scored in parts:
            steps.append(paired)
            scores.append(scored)
            bar.update(paired.height)
    paired = pl.concat(steps).sort(ORDER)
    scored = pl.concat(scores).sort([name for name in ORDER if name != "sample"])
    return paired, scored, measure(paired, scored, config, reference, progress)


def _here(rollouts: pl.LazyFrame, real: RealWork) -> Scored:
    for part in read_pieces(rollouts, ROWS_PER_PART):
        steps = pair_with(part, real)
        yield steps, score(steps)


def _on_cluster(address: str, rollouts: pl.LazyFrame, real: RealWork) -> Scored:
    shared = tuple(map(to_bytes, real))
    parts = enumerate(read_pieces(rollouts, ROWS_PER_PART))
    items = ((str(number), to_bytes(part)) for number, part in parts)
    for _, (steps, scores) in map_on_cluster(address, _score_part, items, shared):
        yield from_bytes(steps), from_bytes(scores)


def _score_part(part: bytes, real: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """STEPS and SCORES of a part of ROLLOUTS, in a process of a cluster, which has one core."""
    similarity.processes = 1
    steps = pair_with(from_bytes(part), RealWork(*map(from_bytes, real)))
    return to_bytes(steps), to_bytes(score(steps))

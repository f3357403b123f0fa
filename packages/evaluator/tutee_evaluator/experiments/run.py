"""Plays an experiment: every policy on every student, and again from where a killed run stopped."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from tutee_evaluator.engines import Engine
from tutee_evaluator.experiments.giving_up import GivingUp
from tutee_evaluator.experiments.play import PLAYED, Start, play
from tutee_evaluator.experiments.policies import Policy
from tutee_evaluator.rollout.grading import Known
from tutee_evaluator.rollout.shards import Shards
from tutee_grader.progress import progress_bar

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment
    from tutee_grader.grader import Grader

_ORDER = ("student", "assignment", "sample", "policy", "step")


def play_all(
    starts: Sequence[Start],
    policies: Mapping[str, Policy],
    samples: int,
    engine: Engine,
    assignments: "Mapping[str, Assignment]",
    grader: "Grader",
    known: Known,
    giving_up: GivingUp,
    steps: int,
    seed: int,
    table: Path,
    folder: Path,
    name: str = "experiment",
) -> pl.DataFrame:
    """PLAYED of every start under every policy, `samples` of each, written to the file `table`.

    Finished trajectories are kept in `folder`, and those that are there already are not played again; `name`
    is that of the progress bar. Raises InputError where a policy cannot go on.
    """
    shards = Shards(folder, PLAYED, _ORDER)
    done = set(shards.finished().iter_rows())
    total = len(starts) * samples * len(policies)

    def missing() -> Iterator[tuple[Start, str, int]]:
        # The policies of one start follow each other: they share what the model reads.
        for start in starts:
            for sample in range(1, samples + 1):
                for policy in policies:
                    if (start.student, start.assignment, sample, policy) not in done:
                        yield start, policy, sample

    with progress_bar(name, total, "trajectories", initial=len(done)) as bar:
        try:
            for rows in play(missing(), policies, engine, assignments, grader, known, giving_up, steps, seed):
                shards.add(rows)
                bar.update()
        finally:
            shards.flush()
    shards.write(table)
    return pl.read_parquet(table)

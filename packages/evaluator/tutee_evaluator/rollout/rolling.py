"""Rolls an engine out from given starts."""

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from tutee_evaluator.engines import Engine, LanguageModel
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.rollout.grading import BackgroundGrader, Known
from tutee_evaluator.rollout.starts import with_dialogs
from tutee_evaluator.rollout.state import Rollout
from tutee_evaluator.schemas import GREEDY

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment
    from tutee_grader.grader import Grader

Rows = list[dict[str, Any]]  # of one rollout: ROLLOUTS without the method


def roll(
    starts: pl.DataFrame,
    dialogs: pl.DataFrame,
    engine: Engine,
    assignments: "Mapping[str, Assignment]",
    grader: "Grader",
    known: Known,
    config: RolloutConfig,
) -> Iterator[Rows]:
    """The rows of each rollout as it ends: from each of the starts (of `unfinished`) its samples.

    Programs are graded while the engine writes others; one with a verdict in `known` is not graded again.
    Raises InputError where a start has no dialog (DIALOGS) that `engine` reads.
    """
    with BackgroundGrader(grader, known) as grading:
        rollouts = (
            Rollout.begin(start, whole, sample, assignments[start["assignment"]])
            for start, whole in with_dialogs(starts, dialogs, engine)
            for sample in start["samples"]
        )
        for rollout in _advance(rollouts, engine, grading, config):
            yield rollout.table()


def _advance(
    rollouts: Iterator[Rollout], engine: Engine, grading: BackgroundGrader, config: RolloutConfig
) -> Iterator[Rollout]:
    """Rollouts as they end. As many are under way as keep the engine busy while others are graded."""
    numbers = itertools.count()
    active: dict[int, Rollout] = {}
    while True:
        for rollout in itertools.islice(rollouts, max(0, 2 * engine.batch - len(active))):
            number = next(numbers)
            active[number] = rollout
            if rollout.key[2] == GREEDY and isinstance(engine, LanguageModel):
                rollout.nats = engine.nats(rollout.dialog, rollout.turn)
            engine.add(number, rollout.request(config))
        if not active:
            return
        written = engine.collect()
        for number, completion in written:
            program = active[number].read(completion)
            if program is None:
                yield active.pop(number)
            else:
                grading.add(number, active[number].assignment, program)
        for number, verdict in grading.collect(wait=not written):
            active[number].grade(verdict)
            if active[number].stop:
                yield active.pop(number)
            else:
                engine.add(number, active[number].request(config))

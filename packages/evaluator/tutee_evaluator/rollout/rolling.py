"""Rolls an engine out from given starts."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from tutee_evaluator.engines import Engine, LanguageModel
from tutee_evaluator.rollout.advance import advance
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.rollout.grading import BackgroundGrader, Known
from tutee_evaluator.rollout.starts import with_dialogs
from tutee_evaluator.rollout.state import Rollout
from tutee_evaluator.schemas import GREEDY
from tutee_grader.verdict import Verdict
from tutee_serializer.dialogs.dialog import Dialog

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
            _begin(start, whole, sample, assignments[start["assignment"]], engine, config)
            for start, whole in with_dialogs(starts, dialogs, engine)
            for sample in start["samples"]
        )
        for rollout in advance(rollouts, engine, grading, _take):
            yield rollout.table()


def _begin(
    start: Mapping[str, Any],
    whole: Dialog,
    sample: int,
    assignment: "Assignment",
    engine: Engine,
    config: RolloutConfig,
) -> Rollout:
    rollout = Rollout.begin(start, whole, sample, assignment, config)
    if sample == GREEDY and isinstance(engine, LanguageModel):
        rollout.nats = engine.nats(rollout.dialog, rollout.turn)
    return rollout


def _take(graded: list[tuple[Rollout, Verdict]]) -> None:
    for rollout, verdict in graded:
        rollout.grade(verdict)

"""Makes all rollouts of a method."""

import itertools
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from tqdm import tqdm

from tutee_evaluator.engines import Engine, LanguageModel
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.rollout.grading import BackgroundGrader, Known
from tutee_evaluator.rollout.shards import Shards
from tutee_evaluator.rollout.starts import draw_starts, with_dialogs
from tutee_evaluator.rollout.state import Rollout
from tutee_evaluator.schemas import GREEDY

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment
    from tutee_grader.grader import Grader


def roll_out(
    method: str,
    engine: Engine,
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    assignments: "Mapping[str, Assignment]",
    grader: "Grader",
    config: RolloutConfig,
    *,
    known: Known | None = None,
    folder: Path | None = None,
    progress: bool = False,
) -> pl.DataFrame:
    """Rolls `engine` out from the drawn starts of the held-out dialogs (DIALOGS); returns ROLLOUTS.

    Programs are graded while the engine writes others; one with a verdict in `known` is not graded again.
    Finished rollouts are written to `folder`, and those that are there already are not made again, so that a
    killed run goes on. Raises InputError where the held-out dialogs give nothing to roll out.
    """
    starts = with_dialogs(draw_starts(dialogs, submissions, config), dialogs, engine)
    with tempfile.TemporaryDirectory() as temporary, BackgroundGrader(grader, known or {}) as grading:
        shards = Shards(folder or Path(temporary), method)
        missing = (
            Rollout.begin(start, sample, assignments[start["assignment"]])
            for start in starts.iter_rows(named=True)
            for sample in range(1 + config.samples)
            if (start["dialog_id"], start["start"], sample) not in shards.finished
        )
        with tqdm(
            total=starts.height * (1 + config.samples),
            initial=len(shards.finished),
            desc=f"rollout {method}",
            unit="rollout",
            disable=None if progress else True,
        ) as bar:
            for rollout in _advance(missing, engine, grading, config):
                shards.add(rollout.table())
                bar.update()
        shards.flush()
        return shards.table()


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

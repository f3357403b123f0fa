"""Keeps an engine and a grader at work on many rollouts at once."""

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeVar

from tutee_evaluator.engines import Completion, Engine, Request
from tutee_evaluator.rollout.grading import BackgroundGrader
from tutee_evaluator.schemas import StopReason
from tutee_grader.verdict import Verdict

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment


class Rolled(Protocol):
    """Work on an assignment that an engine continues until there is a reason to `stop`."""

    assignment: "Assignment"
    stop: StopReason | None

    def request(self) -> Request:
        """What the engine is asked for next."""
        ...

    def read(self, completion: Completion) -> str | None:
        """Takes the engine's turn; returns the program to be graded, None where the rollout is over."""
        ...


R = TypeVar("R", bound=Rolled)


def advance(
    rollouts: Iterator[R],
    engine: Engine,
    grading: BackgroundGrader,
    take: Callable[[list[tuple[R, Verdict]]], None],
) -> Iterator[R]:
    """Rollouts as they end. As many are under way as keep the engine busy while others are graded.

    `take` is given the rollouts whose last program has a verdict by now, each with it, several at a time.
    """
    numbers = itertools.count()
    active: dict[int, R] = {}
    while True:
        for rollout in itertools.islice(rollouts, max(0, 2 * engine.batch - len(active))):
            number = next(numbers)
            active[number] = rollout
            engine.add(number, rollout.request())
        if not active:
            return
        written = engine.collect()
        for number, completion in written:
            program = active[number].read(completion)
            if program is None:
                yield active.pop(number)
            else:
                grading.add(number, active[number].assignment, program)
        graded = grading.collect(wait=not written)
        take([(active[number], verdict) for number, verdict in graded])
        for number, _ in graded:
            if active[number].stop:
                yield active.pop(number)
            else:
                engine.add(number, active[number].request())

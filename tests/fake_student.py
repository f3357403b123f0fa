"""A fake of a trained student: it draws one of a few programs, and can be interrupted."""

from collections.abc import Sequence
from random import Random

from tutee_evaluator.engines import Completion, Request
from tutee_serializer.dialogs.formats import write_turn


class FakeStudent:
    """Stands for a trained student: draws one of `programs` by all that it reads and the request's seed.

    It answers the last request first, and raises KeyboardInterrupt, as a person does, once it was asked
    `patience` times.
    """

    format, feedback = "edits", "summary"

    def __init__(self, programs: Sequence[str], batch: int = 4, patience: int = 10**6) -> None:
        self.programs, self.batch, self.patience, self.asked = programs, batch, patience, 0
        self._waiting: list[tuple[int, Request]] = []

    def add(self, key: int, request: Request) -> None:
        self.asked += 1
        if self.asked > self.patience:
            raise KeyboardInterrupt
        self._waiting.append((key, request))

    def collect(self) -> list[tuple[int, Completion]]:
        now, self._waiting = self._waiting[-3:], self._waiting[:-3]
        return [(key, self._answer(request)) for key, request in reversed(now)]

    def _answer(self, request: Request) -> Completion:
        program = Random(repr((request.seed, request.dialog.messages))).choice(self.programs)
        return Completion(write_turn(self.format, request.dialog.previous, program), program)

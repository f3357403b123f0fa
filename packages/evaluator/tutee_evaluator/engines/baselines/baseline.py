"""What the baselines have in common, and the simplest of them."""

from abc import ABC, abstractmethod
from random import Random

import polars as pl

from tutee_evaluator.engines import Completion, Request
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import write_turn
from tutee_serializer.dialogs.levels import Feedback


class Baseline(ABC):
    """An engine without a model, which answers at once: without a program where there is no previous one."""

    batch = 64

    def __init__(self, format: str, feedback: Feedback) -> None:
        self.format = format
        self.feedback = feedback
        self._done: list[tuple[int, Completion]] = []

    def add(self, key: int, request: Request) -> None:
        """Takes a request, which `key` names."""
        self._done.append((key, self._complete(request)))

    def collect(self) -> list[tuple[int, Completion]]:
        """All that is done. Empty: there is none left."""
        done, self._done = self._done, []
        return done

    @abstractmethod
    def next_program(self, dialog: Dialog, previous: str, random: Random | None) -> str:
        """The student's program after `previous`: one drawn with `random`, or without it the likeliest."""

    def _complete(self, request: Request) -> Completion:
        previous = request.dialog.previous
        if previous is None:
            return Completion("", None, "no previous program to go on from")
        random = Random(request.seed) if request.temperature > 0 else None
        program = self.next_program(request.dialog, previous, random)
        return Completion(write_turn(self.format, previous, program), program)


class Copy(Baseline):
    """The baseline that submits the last program again. A model that has learned anything beats it."""

    def __init__(self, format: str, feedback: Feedback, dialogs: pl.DataFrame | None = None) -> None:
        super().__init__(format, feedback)  # it learns from no dialogs

    def next_program(self, dialog: Dialog, previous: str, random: Random | None) -> str:
        return previous

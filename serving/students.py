"""The student that the service serves, with its assignments and the grader, for all requests at once."""

import secrets
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import cast

import bentoml

from serving.batching import Batcher
from serving.bundle import Bundle
from tutee_evaluator.engines import Completion, EngineConfig, Request, complete
from tutee_evaluator.engines.loading import load_student
from tutee_grader.assignment import Assignment
from tutee_grader.feedback import feedback
from tutee_grader.grader import Grader
from tutee_grader.verdict import Verdict
from tutee_serializer.dialogs.dialog import Dialog

# On a CPU, larger batches are no faster.
MAX_BATCH = 32


class ServedStudent:
    """The student of a bundle with its assignments; programs run in the grader's sandbox only.

    Raises InputError where the folder holds no bundle, and UnavailableError where there is no sandbox or
    the model cannot be loaded.
    """

    def __init__(self, folder: Path) -> None:
        bundle = Bundle.load(folder)
        self.about = bundle.about
        self.assignments = bundle.assignments()
        self.started = int(time.time())  # seconds since 1970
        # Before the model, which takes longer: without a sandbox there is no service.
        self._grader = Grader()
        student = load_student(bundle.student, EngineConfig(batch=MAX_BATCH))
        self.card = student.card
        self._completions = Batcher(partial(complete, student), MAX_BATCH)
        self._verdicts = Batcher(self._grader.grade, MAX_BATCH)

    def dialog(
        self, task: str, history: Iterable[tuple[str, Verdict | str]], system: str | None = None
    ) -> Dialog:
        """The dialog up to the student's next turn, as in training.

        `history` has each earlier program with the feedback on it, a verdict's or any text. `system`
        replaces the system turn of training.
        """
        dialog = Dialog.start(self.card.format, self.card.feedback, task, system)
        for program, verdict in history:
            dialog.append(program, verdict)
        return dialog

    async def complete(self, dialog: Dialog, temperature: float, seed: int | None) -> Completion:
        """The student's next turn; temperature 0 takes the likeliest token each time."""
        seed = secrets.randbits(32) if seed is None else seed
        return await self._completions.submit(Request(dialog, temperature, seed))

    async def grade(self, assignment: Assignment, program: str) -> Verdict:
        """The grader's verdict on a program."""
        return await self._verdicts.submit((assignment, program))

    def feedback(self, verdict: Verdict) -> str:
        """The feedback on a verdict at the level that the student was trained with."""
        return feedback(verdict, level=self.card.feedback)

    def close(self) -> None:
        """Stops the threads and the grader."""
        self._completions.close()
        self._verdicts.close()
        self._grader.close()


def current_student() -> ServedStudent:
    """The student of the service that handles the present request."""
    return cast("ServedStudent", bentoml.get_current_service().student)

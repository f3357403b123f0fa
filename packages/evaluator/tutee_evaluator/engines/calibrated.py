"""A student that was calibrated: a model mixed with two look-ups, which write its next program now and then.

A model that is trained on a few hundred students spreads its probability over too many programs: what really
happens so often, that a student hands in the same program again or does just what another one did, it finds
too unlikely. The weights of the mixture are those at which validation students' next submissions are forecast
best (`calibration.py`).
"""

from math import exp, inf, log
from pathlib import Path
from random import Random
from typing import Protocol

from tutee_evaluator.engines import Completion, LanguageModel, Request
from tutee_evaluator.engines.baselines.nearest import Successors
from tutee_evaluator.engines.baselines.revisions import load_revisions
from tutee_evaluator.engines.gate import MODEL, PARTS, Gate
from tutee_evaluator.schemas import COPY, NEAREST
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import write_turn


class TrainedStudent(LanguageModel, Protocol):
    """An engine with a model in a student's folder."""

    card: StudentCard

    def fits(self, dialog: Dialog) -> bool:
        """Whether the model reads the whole dialog before its turn."""
        ...


class Calibrated:
    """Submits the last program again (COPY), what another student did (NEAREST), or what `student` writes.

    Which of them is drawn, with the probabilities of `gate`. A turn at temperature 0 is that of the likeliest
    of the three. The first program on a task is always the model's.
    """

    def __init__(self, student: TrainedStudent, successors: Successors, gate: Gate) -> None:
        self.student, self.gate, self.card = student, gate, student.card
        self.format, self.feedback, self.batch = student.format, student.feedback, student.batch
        self._successors = successors
        self._done: list[tuple[int, Completion]] = []

    @classmethod
    def load(cls, student: TrainedStudent, folder: Path) -> "Calibrated":
        """`student` as it was calibrated in `folder`; raises InputError where a part of that is missing."""
        return cls(student, Successors(load_revisions(folder)), Gate.load(folder))

    def fits(self, dialog: Dialog) -> bool:
        """Whether the model reads the whole dialog before its turn."""
        return self.student.fits(dialog)

    def nats(self, dialog: Dialog, turn: str) -> float | None:
        """The negative log-likelihood of `turn`, as it is written in dialogs, after `dialog`.

        None where the two are longer than the model can read.
        """
        alone = self.student.nats(dialog, turn)
        previous = dialog.previous
        if alone is None or previous is None:
            return alone
        found = self._successors.of(dialog.task, previous)
        same = sum(write_turn(self.format, previous, program) == turn for program in found)
        share = {
            COPY: float(write_turn(self.format, previous, previous) == turn),
            NEAREST: same / len(found),
            MODEL: exp(-alone),
        }
        chance = sum(weight * share[part] for part, weight in self.gate.probabilities(dialog).items())
        return -log(chance) if chance else inf

    def add(self, key: int, request: Request) -> None:
        """Takes a request, which `key` names."""
        previous = request.dialog.previous
        if previous is None:
            self.student.add(key, request)
            return
        chances = self.gate.probabilities(request.dialog)
        # Not the seed itself: the model draws with it, and the two draws should be independent.
        random = Random(f"part {request.seed}") if request.temperature > 0 else None
        if random:
            (part,) = random.choices(PARTS, list(chances.values()))
        else:
            part = max(PARTS, key=lambda part: chances[part])
        if part == MODEL:
            self.student.add(key, request)
            return
        program = previous
        if part == NEAREST:
            found = self._successors.of(request.dialog.task, previous)
            program = random.choice(found) if random else found[0]
        self._done.append((key, Completion(write_turn(self.format, previous, program), program)))

    def collect(self) -> list[tuple[int, Completion]]:
        """Works until at least one request is done; returns those that are. Empty: there are none left."""
        done, self._done = self._done, []
        return done or self.student.collect()

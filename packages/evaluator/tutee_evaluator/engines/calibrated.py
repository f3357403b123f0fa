"""A student that was calibrated: a model mixed with look-ups, which write its next program now and then.

A model that is trained on a few hundred students spreads its probability over too many programs: what really
happens so often, that a student hands in the same program again or does just what another one did, it finds
too unlikely. The weights of the mixture are those at which validation students' next submissions are forecast
best (`calibration/`).
"""

from math import exp, inf, log
from pathlib import Path
from random import Random
from typing import Protocol

from tutee_evaluator.engines import Completion, LanguageModel, Request
from tutee_evaluator.engines.baselines.revisions import load_revisions
from tutee_evaluator.engines.gate import MODEL, PEERS, Gate, last_grade
from tutee_evaluator.engines.peers import Peers
from tutee_evaluator.engines.rejection import RejectionSampler, breaks_syntax
from tutee_evaluator.schemas import COPY
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import read_turn, write_turn


class TrainedStudent(LanguageModel, Protocol):
    """An engine with a model in a student's folder."""

    card: StudentCard

    def fits(self, dialog: Dialog) -> bool:
        """Whether the model reads the whole dialog before its turn."""
        ...


class Calibrated:
    """Submits the last program again, what peers make likely (`peers.py`), or what `student` writes.

    Which of them is drawn, with the probabilities of `gate`. At temperature 0 it is the likeliest program of
    those that are looked up, or the model's likeliest turn, where the model is likelier than that program.
    The first program on a task is always the model's. What the model writes is drawn again where it is not
    what students hand in (`rejection.py`).
    """

    def __init__(self, student: TrainedStudent, peers: Peers, gate: Gate) -> None:
        self.student, self.gate, self.card = student, gate, student.card
        self.format, self.feedback, self.batch = student.format, student.feedback, student.batch
        self._peers = peers
        self._model = RejectionSampler(student, gate.acceptance)
        self._done: list[tuple[int, Completion]] = []

    @classmethod
    def load(cls, student: TrainedStudent, folder: Path) -> "Calibrated":
        """`student` as it was calibrated in `folder`; raises InputError where a part of that is missing."""
        return cls(student, Peers(load_revisions(folder)), Gate.load(folder))

    def fits(self, dialog: Dialog) -> bool:
        """Whether the model reads the whole dialog before its turn."""
        return self.student.fits(dialog)

    def nats(self, dialog: Dialog, turn: str) -> float | None:
        """The negative log-likelihood of `turn`, as it is written in dialogs, after `dialog`.

        Or a little more: what a turn gains where others are drawn again is not counted. None where the two
        are longer than the model can read.
        """
        alone = self.student.nats(dialog, turn)
        previous = dialog.previous
        if alone is None or previous is None:
            return alone
        chances = self._chances(dialog, previous)
        breaks = breaks_syntax(previous, read_turn(self.format, previous, turn))
        accepted = self.gate.acceptance if breaks else 1.0
        found = accepted * chances.pop(None) * exp(-alone) + sum(
            chance
            for program, chance in chances.items()
            if write_turn(self.format, previous, str(program)) == turn
        )
        return -log(found) if found else inf

    def add(self, key: int, request: Request) -> None:
        """Takes a request, which `key` names."""
        previous = request.dialog.previous
        if previous is None:
            self._model.add(key, request)
            return
        chances = self._chances(request.dialog, previous)
        if request.temperature > 0:
            # Not the seed itself: the model draws with it, and the two draws should be independent.
            random = Random(f"part {request.seed}")
            (program,) = random.choices(list(chances), list(chances.values()))
        else:
            program = max(chances, key=lambda one: chances[one])
        if program is None:
            self._model.add(key, request)
        else:
            self._done.append((key, Completion(write_turn(self.format, previous, program), program)))

    def collect(self) -> list[tuple[int, Completion]]:
        """Works until at least one request is done; returns those that are. Empty: there are none left."""
        done, self._done = self._done, []
        return done or self._model.collect()

    def _chances(self, dialog: Dialog, previous: str) -> dict[str | None, float]:
        """The probability of each program that is looked up, and under None that of the model."""
        components = self.gate.probabilities(dialog)
        found = self._peers.chances(dialog.task, previous, last_grade(dialog))
        chances: dict[str | None, float] = {
            program: components[PEERS] * chance for program, chance in found.items()
        }
        chances[previous] = chances.get(previous, 0.0) + components[COPY]
        return chances | {None: components[MODEL]}

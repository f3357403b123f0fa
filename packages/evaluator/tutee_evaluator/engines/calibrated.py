"""A student that was calibrated: a model mixed with look-ups, which write its next program now and then.

A model that is trained on a few hundred students spreads its probability over too many programs: what really
happens so often, that a student hands in the same program again or does just what another one did, it finds
too unlikely. The weights of the mixture are those at which validation students' next submissions are forecast
best (`calibration/`).
"""

from collections.abc import Sequence
from dataclasses import replace
from math import exp, inf, log
from pathlib import Path
from random import Random
from typing import Protocol

from tutee_evaluator.engines import Completion, LanguageModel, Request, SteppingEngine
from tutee_evaluator.engines.baselines.revisions import load_revisions
from tutee_evaluator.engines.gate import MODEL, PEERS, Gate, last_grade
from tutee_evaluator.engines.peers import Peers
from tutee_evaluator.engines.rejection import RejectionSampler, breaks_syntax
from tutee_evaluator.schemas import COPY
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import Message, read_turn, write_turn


class TrainedStudent(LanguageModel, SteppingEngine, Protocol):
    """An engine with a model in a student's folder."""

    card: StudentCard
    chat: Chat

    def cut(self, dialog: Dialog) -> list[Message]:
        """What the model reads of a dialog: without its oldest turns, where it is long."""
        ...

    def too_long(self, prompt: Sequence[int]) -> str | None:
        """Why the model cannot write after a prompt of so many tokens; None where it can."""
        ...

    def written(self, key: int) -> str | None:
        """The text of a turn, as far as it is written and stays; None where that is not known."""
        ...

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
        self.student, self.gate, self.card, self.chat = student, gate, student.card, student.chat
        self.format, self.feedback, self.batch = student.format, student.feedback, student.batch
        self._peers = peers
        self._model = RejectionSampler(student, gate.acceptance)
        self._asked: dict[int, Request] = {}
        self._done: list[tuple[int, Completion]] = []

    @classmethod
    def load(cls, student: TrainedStudent, folder: Path) -> "Calibrated":
        """`student` as it was calibrated in `folder`; raises InputError where a part of that is missing."""
        return cls(student, Peers(load_revisions(folder)), Gate.load(folder))

    def fits(self, dialog: Dialog) -> bool:
        """Whether the model reads the whole dialog before its turn."""
        return self.student.fits(dialog)

    def cut(self, dialog: Dialog) -> list[Message]:
        """What the model reads of a dialog: without its oldest turns, where it is long."""
        return self.student.cut(dialog)

    def too_long(self, prompt: Sequence[int]) -> str | None:
        """Why the model cannot write after a prompt of so many tokens; None where it can."""
        return self.student.too_long(prompt)

    def written(self, key: int) -> str | None:
        """None: what is written may be drawn again."""
        return None

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
        self._asked[key] = request
        # A turn's likelihood is the mixture's, which is asked for once the turn is there.
        alone = replace(request, logprobs=False)
        previous = request.dialog.previous
        if previous is None:
            self._model.add(key, alone)
            return
        chances = self._chances(request.dialog, previous)
        if request.temperature > 0:
            # Not the seed itself: the model draws with it, and the two draws should be independent.
            random = Random(f"part {request.seed}")
            (program,) = random.choices(list(chances), list(chances.values()))
        else:
            program = max(chances, key=lambda one: chances[one])
        if program is None:
            self._model.add(key, alone)
        else:
            self._done.append((key, Completion(write_turn(self.format, previous, program), program)))

    def cancel(self, key: int) -> None:
        """Stops working on a request, which is never done; nothing if it is done."""
        if self._asked.pop(key, None):
            self._done = [done for done in self._done if done[0] != key]
            self._model.cancel(key)

    def step(self) -> list[tuple[int, Completion]]:
        """Works for a moment, on all requests; returns those that are done by it."""
        done, self._done = self._done, []
        return [(key, self._scored(completion, key)) for key, completion in done or self._model.step()]

    def collect(self) -> list[tuple[int, Completion]]:
        """Works until at least one request is done; returns those that are. Empty: there are none left."""
        done: list[tuple[int, Completion]] = []
        while not done and self._asked:
            done = self.step()
        return done

    def _scored(self, completion: Completion, key: int) -> Completion:
        """A completion with the log-likelihood that was asked for."""
        request = self._asked.pop(key)
        if not request.logprobs or completion.program is None:
            return completion
        nats = self.nats(request.dialog, completion.content)
        return completion if nats is None else replace(completion, logprob=-nats)

    def _chances(self, dialog: Dialog, previous: str) -> dict[str | None, float]:
        """The probability of each program that is looked up, and under None that of the model."""
        components = self.gate.probabilities(dialog)
        found = self._peers.chances(dialog.task, previous, last_grade(dialog))
        chances: dict[str | None, float] = {
            program: components[PEERS] * chance for program, chance in found.items()
        }
        chances[previous] = chances.get(previous, 0.0) + components[COPY]
        return chances | {None: components[MODEL]}

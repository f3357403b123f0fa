"""One student, its assignments and the grader, ready to answer several callers at once."""

import secrets
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.batches import Batches
from serving.bundle import Bundle
from tutee_evaluator.engines import Attempt, Situation, Student
from tutee_grader import Assignment, Grader, Verdict, feedback
from tutee_serializer.dialogs import formats

# Beyond this a batch gains no speed on a CPU (DESIGN.md, section 6).
BATCH = 32


@dataclass(frozen=True)
class Step:
    """An attempt of the past: the program and the feedback it got."""

    program: str
    feedback: str


@dataclass(frozen=True)
class Draw:
    """A situation to go on from, and how: temperature 0 takes the likeliest tokens."""

    situation: Situation
    temperature: float = 0.0
    seed: int | None = None

    @property
    def kind(self) -> Hashable:
        """Draws of one kind are made together; a seeded one must not depend on who else asks."""
        return self.temperature if self.seed is None else id(self)


@dataclass(frozen=True)
class Proposal:
    """What the student handed in, and the length of the prompt and of its turn in tokens."""

    attempt: Attempt
    prompt_tokens: int
    turn_tokens: int


class Classroom:
    """The student of one folder with its assignments; programs run in the grader's sandbox only."""

    def __init__(self, folder: Path) -> None:
        bundle = Bundle.load(folder)
        self.about = bundle.about
        self.assignments = bundle.assignments()
        self.opened = int(time.time())
        # First what may be refused at once: without a sandbox there is no service.
        self._grader = Grader().__enter__()
        self._student = Student.load(bundle.student)
        self.card = self._student.card
        self._proposals = Batches(self._propose, lambda draw: draw.kind, BATCH)
        self._verdicts = Batches(self._grader.grade, lambda _: None, BATCH)

    async def propose(self, draw: Draw) -> Proposal:
        """What the student hands in next."""
        return await self._proposals.ask(draw)

    async def verdict(self, assignment: Assignment, program: str) -> Verdict:
        """What the grader says of a program."""
        return await self._verdicts.ask((assignment, program))

    def feedback(self, verdict: Verdict) -> str:
        """The feedback a student sees: at the level this one was trained with."""
        return feedback(verdict, level=self.card.feedback)

    def close(self) -> None:
        self._proposals.close()
        self._verdicts.close()
        self._grader.__exit__(None, None, None)

    def situation(self, task: str, steps: Sequence[Step], system: str | None = None) -> Situation:
        """The dialog up to the student's next turn, written as it was for training.

        `system` stands in for the system turn of the training.
        """
        form = self.card.format
        opening = formats.system_turn(form) if system is None else formats.escape(system)
        turns = [("system", opening), ("user", formats.task_turn(form, task))]
        before: str | None = None
        for step in steps:
            turns.append(("assistant", formats.write_turn(form, before, step.program)))
            turns.append(("user", formats.feedback_turn(form, step.feedback, step.program)))
            before = step.program
        return Situation([{"role": role, "content": content} for role, content in turns], before)

    def _propose(self, draws: list[Draw]) -> list[Proposal]:
        seed = draws[0].seed
        student = Student(
            self._student.model,
            self._student.tokenizer,
            self.card,
            temperature=draws[0].temperature,
            seed=secrets.randbits(32) if seed is None else seed,
            batch=BATCH,
        )
        situations = [draw.situation for draw in draws]
        return [
            Proposal(attempt, self._tokens(student.prompt(situation.messages)), self._tokens(attempt.content))
            for situation, attempt in zip(situations, student.next_programs(situations), strict=True)
        ]

    def _tokens(self, text: str) -> int:
        return len(self._student.tokenizer(text, add_special_tokens=False)["input_ids"])

"""One artificial student at work on an assignment, a submission at a time."""

import asyncio
import copy
import hashlib
from dataclasses import dataclass, replace
from http import HTTPStatus

from serving import metrics
from serving.errors import ApiError
from serving.grading import Graders
from serving.payloads import TOO_LONG, GradedSubmission, GradedTest, HistoryEntry, Sample
from serving.students import LoadedStudent
from tutee_evaluator.engines import Completion, Request
from tutee_evaluator.engines.calibrated import TrainedStudent
from tutee_evaluator.rollout.state import gives_up
from tutee_evaluator.schemas import StopReason
from tutee_grader.assignment import Assignment
from tutee_grader.verdict import Verdict
from tutee_serializer.dialogs.dialog import Dialog


@dataclass(frozen=True)
class Prompt:
    """What a model reads of a dialog, of whose turns `left_out`, the oldest, were too many."""

    tokens: tuple[int, ...]
    left_out: int


async def read(student: TrainedStudent, dialog: Dialog) -> Prompt:
    """The prompt for a student's next turn, made in a thread.

    Raises ApiError (TOO_LONG) where even the last turns are too long for the model.
    """

    def make() -> Prompt:
        messages = student.cut(dialog)
        left_out = _turns(dialog.messages) - _turns(messages)
        return Prompt(tuple(student.chat.prompt(messages)), left_out)

    prompt = await asyncio.to_thread(make)
    if reason := student.too_long(prompt.tokens):
        raise ApiError(HTTPStatus.BAD_REQUEST, TOO_LONG, reason, "messages")
    return prompt


@dataclass
class Trajectory:
    """A student's work on an assignment. `seed` decides all that is drawn, `number` names it among others."""

    student: LoadedStudent
    graders: Graders
    assignment: Assignment
    dialog: Dialog
    number: int
    seed: int
    temperature: float
    prompt: Prompt | None = None  # for the next submission, where it is known
    stop: StopReason | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @classmethod
    async def begin(
        cls,
        student: LoadedStudent,
        graders: Graders,
        assignment: Assignment,
        history: list[HistoryEntry],
        seed: int,
        temperature: float,
    ) -> "Trajectory":
        """The work so far: every program is graded, and the student is told what `history` says, or that.

        Raises ApiError where the last turns are too long for the model.
        """
        card = student.student.card
        verdicts = await asyncio.gather(*(graders.grade(assignment, entry.code) for entry in history))
        dialog = Dialog.start(card.format, card.feedback, assignment.task)
        for entry, verdict in zip(history, verdicts, strict=True):
            said = dialog.words(verdict) if entry.feedback is None else entry.feedback
            dialog.append(entry.code, "\n".join(filter(None, (said, entry.tutor))))
            dialog.grades += (verdict.grade,)
        prompt = await read(student.student, dialog)
        return cls(student, graders, assignment, dialog, 0, seed, temperature, prompt)

    def sibling(self, number: int) -> "Trajectory":
        """Another student with the same work so far, and a seed of its own."""
        other = copy.copy(self)
        other.number, other.seed = number, self.seed + number
        other.prompt_tokens = other.completion_tokens = 0
        other.dialog = replace(self.dialog, messages=list(self.dialog.messages))
        return other

    @property
    def attempt(self) -> int:
        """The number of the next submission, counted from 1."""
        return _turns(self.dialog.messages) + 1

    async def submit(self) -> Sample:
        """The student's next submission, graded; it joins the dialog. `stop` says whether it was the last."""
        attempt = self.attempt
        prompt = self.prompt or await read(self.student.student, self.dialog)
        request = Request(
            self.dialog,
            self.temperature,
            draw_seed(self.seed, attempt),
            logprobs=True,
            prompt=prompt.tokens,
        )
        completion = await self.student.engine.complete(request)
        self.prompt = None
        self._count(completion, len(prompt.tokens))
        program, graded = completion.program, None
        if program is None:
            self.stop = StopReason.UNREADABLE
        else:
            verdict = await self.graders.grade(self.assignment, program)
            graded = describe(verdict, self.dialog)
            if verdict.grade == 100:
                self.stop = StopReason.SOLVED
            elif gives_up(program):
                self.stop = StopReason.GAVE_UP
            else:
                self.dialog.append(program, verdict)
        outcome = self.stop or ("wrong" if graded and graded.status == "compiles" else "broken")
        metrics.OUTCOMES.labels(self.student.model, outcome).inc()
        return Sample(
            sample=self.number,
            seed=self.seed,
            attempt=attempt,
            code=program,
            reason=completion.reason,
            logprob=completion.logprob,
            verdict=graded,
        )

    def _count(self, completion: Completion, prompt_tokens: int) -> None:
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion.completion_tokens
        count_tokens(self.student.model, prompt_tokens, completion.completion_tokens)


def draw_seed(seed: int, attempt: int) -> int:
    """The seed of one submission of a student: whatever was asked for before, it is drawn the same."""
    return int.from_bytes(hashlib.sha256(f"{seed} {attempt}".encode()).digest()[:8])


def count_tokens(model: str, prompt: int, completion: int) -> None:
    """Counts tokens in the metrics."""
    metrics.TOKENS.labels(model, "prompt").inc(prompt)
    metrics.TOKENS.labels(model, "completion").inc(completion)


def describe(verdict: Verdict, dialog: Dialog) -> GradedSubmission:
    """A verdict as a response has it, with the feedback that the dialog's student is given."""
    return GradedSubmission(
        grade=verdict.grade,
        status=verdict.status,
        feedback=dialog.words(verdict),
        tests=[
            GradedTest(name=test.name, outcome=test.outcome, message=test.message) for test in verdict.tests
        ],
    )


def _turns(messages: list[dict[str, str]]) -> int:
    return sum(message["role"] == "assistant" for message in messages)

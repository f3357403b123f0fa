"""Feedback policies: what a student is told about a submission."""

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tutee_evaluator.endpoint import Endpoint, Usage
from tutee_grader.errors import InputError
from tutee_grader.feedback import Level, feedback
from tutee_grader.verdict import Verdict

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment

LONGEST = 1000  # characters of an answer that a student reads
NOTHING, CUT = "said nothing", "was cut"


@dataclass(frozen=True)
class Submission:
    """What a policy is asked about. `earlier` has the programs before, each with what was answered.

    `attempt` counts the submissions on this assignment, from 1.
    """

    student: str
    assignment: "Assignment"
    attempt: int
    code: str
    verdict: Verdict
    earlier: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Answer:
    """What the student reads; `note` says what was wrong with the policy's own words, None: nothing."""

    words: str
    note: str | None = None


class Policy(Protocol):
    """Answers submissions, several at once, in the order asked."""

    def answer(self, submissions: Sequence[Submission]) -> list[Answer]:
        """Raises InputError where the policy cannot go on."""
        ...


@dataclass(frozen=True)
class GraderPolicy:
    """The grader's own words, of a level of detail."""

    level: Level

    def answer(self, submissions: Sequence[Submission]) -> list[Answer]:
        return [Answer(feedback(submission.verdict, self.level)) for submission in submissions]


@dataclass(frozen=True)
class HintsPolicy:
    """The next hint of a list authored for each assignment; the last one again, once all were given.

    Raises InputError, naming them, where `hints` has none for some of `assignments`.
    """

    hints: Mapping[str, Sequence[str]]

    def answer(self, submissions: Sequence[Submission]) -> list[Answer]:
        return [bounded(self._hint(submission)) for submission in submissions]

    def _hint(self, submission: Submission) -> str:
        hints = self.hints.get(submission.assignment.name)
        if not hints:
            raise InputError(f"there is no hint for the assignment {submission.assignment.name}; add one")
        return hints[min(submission.attempt, len(hints)) - 1]


class TutorPolicy:
    """A language model behind an OpenAI-compatible endpoint, asked once for each submission.

    `prompt` is a `string.Template` with any of $task, $code, $feedback (the grader's summary), $attempt and
    $earlier. What the endpoint does not answer leaves the student without words, and says why.
    """

    FIELDS = ("task", "code", "feedback", "attempt", "earlier")

    def __init__(self, endpoint: Endpoint, prompt: str, seed: int) -> None:
        self._endpoint, self._prompt, self._seed = endpoint, string.Template(prompt), seed

    @property
    def usage(self) -> Usage:
        """What the endpoint was asked."""
        return self._endpoint.usage

    def answer(self, submissions: Sequence[Submission]) -> list[Answer]:
        asked = [[{"role": "user", "content": self._fill(submission)}] for submission in submissions]
        return [
            bounded(answered.text) if answered.text is not None else Answer("", answered.reason)
            for answered in self._endpoint.answers(asked, temperature=0.0, seed=self._seed)
        ]

    def _fill(self, submission: Submission) -> str:
        earlier = "\n\n".join(f"{code}\n\n{words}" for code, words in submission.earlier)
        return self._prompt.safe_substitute(
            task=submission.assignment.task,
            code=submission.code,
            feedback=feedback(submission.verdict),
            attempt=submission.attempt,
            earlier=earlier,
        )


@dataclass(frozen=True)
class FunctionPolicy:
    """A Python function that is given a `Submission` and returns the words, or None.

    `name` is its module and name, MODULE:FUNCTION. What it raises ends the experiment with an InputError; a
    run that is started again goes on from there.
    """

    name: str
    function: Callable[[Submission], str | None]

    def answer(self, submissions: Sequence[Submission]) -> list[Answer]:
        return [self._ask(submission) for submission in submissions]

    def _ask(self, submission: Submission) -> Answer:
        place = (
            f"{self.name}: for student {submission.student}, assignment {submission.assignment.name}, "
            f"attempt {submission.attempt}"
        )
        try:
            words = self.function(submission)
        except (Exception, SystemExit) as error:
            raise InputError(f"{place}, it raised {type(error).__name__}: {error}") from error
        if words is not None and not isinstance(words, str):
            raise InputError(f"{place}, it returned {words!r:.80}; return a text, or None for no feedback")
        return bounded(words)


def bounded(words: str | None) -> Answer:
    """A policy's own words as a student reads them: at most LONGEST characters.

    Markup of chat templates is escaped where the words become a turn of a dialog, as everybody's.
    """
    text = (words or "").strip()
    if not text:
        return Answer("", NOTHING)
    # Half of a surrogate pair is no character, and no table takes it.
    read = text[:LONGEST].encode(errors="replace").decode()
    return Answer(read) if len(text) <= LONGEST else Answer(read.rstrip() + " ...", CUT)

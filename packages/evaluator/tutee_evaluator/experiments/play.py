"""Plays trajectories to their end, each under a feedback policy."""

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tutee_evaluator.engines import Completion, Engine, Request
from tutee_evaluator.experiments.giving_up import GivingUp
from tutee_evaluator.experiments.policies import Answer, Policy, Submission
from tutee_evaluator.rollout.advance import advance
from tutee_evaluator.rollout.grading import BackgroundGrader, Known
from tutee_evaluator.rollout.state import gives_up, seed_of
from tutee_evaluator.schemas import Outcome, StopReason
from tutee_grader.verdict import VERDICT_COLUMNS, Verdict
from tutee_serializer.dialogs.dialog import Dialog

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment
    from tutee_grader.grader import Grader

# One row per submission of a trajectory, and one (step 0) for the real submission that it starts from, if
# it does. `sample` counts from 1. `status` is the grader's, or why a turn could not be read. `feedback` is
# what the policy answered, and `note` what was wrong with that; both null after the last submission.
_COLUMNS: dict[str, Any] = {
    "policy": pl.String,
    "student": pl.String,
    "assignment": pl.String,
    "sample": pl.Int64,
    "step": pl.Int64,
    "code": pl.String,
    "outcome": pl.String,
    **VERDICT_COLUMNS,
    "feedback": pl.String,
    "note": pl.String,
    "stop_reason": pl.String,
}
PLAYED = pl.Schema(_COLUMNS)
KEY = ("policy", "student", "assignment", "sample")  # of a trajectory

Rows = list[dict[str, Any]]  # of one trajectory
_AT_ONCE = 64  # trajectories that begin together, so that a slow policy answers their starts at once


@dataclass(frozen=True)
class Start:
    """Where a student stands: before the first submission on a task, or after some of them.

    `dialog` ends where the student would write, or, with `last`, before the last submission: this program
    and its verdict, which the policy answers first.
    """

    student: str
    assignment: str
    dialog: Dialog
    last: tuple[str, Verdict] | None = None


@dataclass
class Trajectory:
    """One student at work under a policy, and its rows of PLAYED."""

    key: tuple[str, str, str, int]
    assignment: "Assignment"
    dialog: Dialog
    seed: int
    steps: int
    stop: StopReason | None = None
    rows: Rows = field(default_factory=list)
    grades: list[float] = field(default_factory=list)  # of all attempts, also those before the start
    earlier: list[tuple[str, str]] = field(default_factory=list)
    step: int = 0

    def request(self) -> Request:
        """What the engine is asked for next: drawn with the same random numbers under every policy."""
        return Request(self.dialog, 1.0, self.place("turn"))

    def place(self, what: str) -> int:
        """A seed that is the same under every policy, for each step."""
        return seed_of(what, self.seed, *self.key[1:], self.step)

    def read(self, completion: Completion) -> str | None:
        """Takes the student's turn; returns the program to be graded, None where the trajectory is over."""
        self.step += 1
        program = completion.program
        if program is None:
            self.add(Outcome.UNREADABLE, status=completion.reason)
            self.stop = StopReason.UNREADABLE
        elif gives_up(program):
            self.add(Outcome.GAVE_UP, code=program)
            self.stop = StopReason.GAVE_UP
        else:
            self.add(Outcome.PROGRAM, code=program)
            return program
        return None

    def grade(self, verdict: Verdict, giving_up: GivingUp) -> None:
        """Takes the verdict on the last program, after which the student may go on, or not."""
        self.rows[-1] |= verdict.to_row()
        previous = self.grades[-1] if self.grades else None
        self.grades.append(verdict.grade)
        if verdict.grade == 100:
            self.stop = StopReason.SOLVED
        elif self.step == self.steps:
            self.stop = StopReason.STEPS
        elif self._draw() < giving_up.chance(len(self.grades), verdict.grade, previous):
            self.stop = StopReason.GAVE_UP

    def submission(self, verdict: Verdict) -> Submission:
        """The last program, as a policy sees it."""
        code, attempt = self.rows[-1]["code"], len(self.grades)
        return Submission(self.key[1], self.assignment, attempt, code, verdict, tuple(self.earlier))

    def answer(self, answer: Answer) -> None:
        """Takes what the policy says of the last program."""
        row = self.rows[-1]
        row |= {"feedback": answer.words, "note": answer.note}
        self.dialog.append(row["code"], answer.words)
        self.dialog.grades += (row["grade"],)
        self.earlier.append((row["code"], answer.words))

    def add(self, outcome: Outcome, **values: Any) -> None:
        policy, student, assignment, sample = self.key
        key = {"policy": policy, "student": student, "assignment": assignment, "sample": sample}
        self.rows.append({**key, "step": self.step, "outcome": str(outcome), **values})

    def table(self) -> Rows:
        """All rows."""
        return [{**row, "stop_reason": str(self.stop)} for row in self.rows]

    def _draw(self) -> float:
        return float(np.random.default_rng(self.place("giving up")).random())


def play(
    starts: Iterable[tuple[Start, str, int]],
    policies: Mapping[str, Policy],
    engine: Engine,
    assignments: "Mapping[str, Assignment]",
    grader: "Grader",
    known: Known,
    giving_up: GivingUp,
    steps: int,
    seed: int,
) -> Iterator[Rows]:
    """The rows (PLAYED) of each trajectory as it ends, from each start, under the policy named, a sample.

    A student submits up to `steps` times. All that is drawn depends on `seed`, the student, assignment,
    sample and step, and not on the policy: who reads the same words does the same. Raises InputError where a
    policy cannot go on.
    """

    def begun() -> Iterator[Trajectory]:
        places = iter(starts)
        while together := list(itertools.islice(places, _AT_ONCE)):
            new = [_begin(start, key, assignments, seed, steps) for start, *key in together]
            last = [start.last for start, *_ in together]
            _answer([(one, at[1]) for one, at in zip(new, last, strict=True) if at], policies)
            yield from new

    with BackgroundGrader(grader, known) as grading:
        for trajectory in advance(begun(), engine, grading, partial(_take, policies, giving_up)):
            yield trajectory.table()


def _begin(
    start: Start, key: Sequence[Any], assignments: "Mapping[str, Assignment]", seed: int, steps: int
) -> Trajectory:
    policy, sample = key
    dialog = copy.copy(start.dialog)
    dialog.messages = list(dialog.messages)
    place = (policy, start.student, start.assignment, sample)
    trajectory = Trajectory(place, assignments[start.assignment], dialog, seed, steps)
    trajectory.grades += dialog.grades
    if start.last:
        code, verdict = start.last
        trajectory.add(Outcome.PROGRAM, code=code, **verdict.to_row())
        trajectory.grades.append(verdict.grade)
    return trajectory


def _take(
    policies: Mapping[str, Policy], giving_up: GivingUp, graded: list[tuple[Trajectory, Verdict]]
) -> None:
    for trajectory, verdict in graded:
        trajectory.grade(verdict, giving_up)
    _answer([(trajectory, verdict) for trajectory, verdict in graded if not trajectory.stop], policies)


def _answer(graded: list[tuple[Trajectory, Verdict]], policies: Mapping[str, Policy]) -> None:
    """Has the policies answer the last programs of trajectories."""
    by_policy: dict[str, list[tuple[Trajectory, Submission]]] = {}
    for trajectory, verdict in graded:
        by_policy.setdefault(trajectory.key[0], []).append((trajectory, trajectory.submission(verdict)))
    for name, asked in by_policy.items():
        answers = policies[name].answer([submission for _, submission in asked])
        for (trajectory, _), answer in zip(asked, answers, strict=True):
            trajectory.answer(answer)

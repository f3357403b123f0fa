"""Whether artificial students respond to feedback: what they do next after helpful and misleading words.

At each start the student is told of the first test that really fails (helpful), of one of another assignment
(irrelevant), or that a test fails which passes (misleading); all in the words of real verdicts. The same
random numbers serve all of them, so a student who ignores feedback does the same each time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tutee_evaluator.distance import token_distances
from tutee_evaluator.engines import Completion, Engine, Request, complete
from tutee_evaluator.experiments.play import Start
from tutee_evaluator.metrics.bootstrap import cluster_mean, resample
from tutee_evaluator.rollout.state import seed_of
from tutee_grader.errors import InputError
from tutee_grader.verdict import Outcome, Status, TestResult, Verdict
from tutee_serializer.dialogs.dialog import Dialog

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment
    from tutee_grader.grader import Grader

HELPFUL, IRRELEVANT, MISLEADING = KINDS = ("helpful", "irrelevant", "misleading")
AGAIN = "helpful, drawn anew"  # other random numbers: what a distance of nothing but chance looks like
RESAMPLES = 2000

# One row per pair of kinds, `other` null where it is of one alone. `distance`: the energy distance of the
# samples, by the edit distance of tokens, from 0 for the same ones; `changed`: the share of samples that
# differ from those with the same random numbers; `grade`: the mean of the next submission, 0 to 100.
RESPONSES = pl.Schema(
    {
        "kind": pl.String(),
        "other": pl.String(),
        "figure": pl.String(),
        "value": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "starts": pl.Int64(),
        "students": pl.Int64(),
    }
)

Said = dict[str, Verdict]  # a verdict to be put into words, by kind


@dataclass(frozen=True)
class Told:
    """A start, and what the student is told there."""

    start: Start
    said: Said


def tell(starts: Sequence[Start], verdicts: Mapping[str, Sequence[Verdict]]) -> list[Told]:
    """What can be said at each start with a program that passes some tests and fails others.

    `verdicts` are those of real submissions on each assignment, whose messages are used. Starts for which
    there is nothing misleading or irrelevant to say are left out.
    """
    messages = {
        name: {test.name: test.message for verdict in of for test in verdict.tests if _failed(test)}
        for name, of in verdicts.items()
    }
    told = []
    for start in starts:
        if start.last and (said := _say(start, start.last[1], messages)):
            told.append(Told(start, said))
    return told


def _say(start: Start, verdict: Verdict, messages: Mapping[str, Mapping[str, str]]) -> Said | None:
    own = messages.get(start.assignment, {})
    others = [
        message
        for name, of in sorted(messages.items())
        if name != start.assignment
        for message in of.values()
    ]
    failing = next((test for test in verdict.tests if _failed(test)), None)
    passing = [test for test in verdict.tests if test.outcome == Outcome.PASSED and own.get(test.name)]
    if verdict.status != Status.COMPILES or failing is None or not passing or not others:
        return None
    pick = seed_of("responsiveness", start.student, start.assignment)
    wrong = passing[pick % len(passing)]
    elsewhere = others[pick % len(others)]

    def swapped(test: TestResult) -> TestResult:
        if test.name == failing.name:
            return replace(test, outcome=Outcome.PASSED, message="")
        if test.name == wrong.name:
            return replace(test, outcome=Outcome.FAILED, message=own[wrong.name])
        return test

    # The false test is the first that is said to fail, and as many are said to pass.
    tests = sorted(map(swapped, verdict.tests), key=lambda test: test.name != wrong.name)
    moved = [
        replace(test, message=elsewhere) if test.name == failing.name else test for test in verdict.tests
    ]
    return {
        HELPFUL: verdict,
        IRRELEVANT: replace(verdict, tests=tuple(moved)),
        MISLEADING: replace(verdict, tests=tuple(tests)),
    }


def measure(
    told: Sequence[Told],
    samples: int,
    engine: Engine,
    assignments: "Mapping[str, Assignment]",
    grader: "Grader",
    seed: int,
) -> pl.DataFrame:
    """RESPONSES of a student; raises InputError where there is no start, or one student alone."""
    students = sorted({one.start.student for one in told})
    if len(students) < 2:
        raise InputError(
            f"{len(told)} starts of {len(students)} students have a program that passes some tests and fails "
            "others; at least two students are needed for an interval"
        )
    kinds = {**dict.fromkeys(KINDS, seed), AGAIN: seed + 1}
    requests = [
        _request(one, HELPFUL if kind == AGAIN else kind, sample, numbers)
        for one in told
        for kind, numbers in kinds.items()
        for sample in range(samples)
    ]
    written = complete(engine, requests, "responsiveness")
    programs = np.array([_program(one) for one in written], dtype=object).reshape(
        len(told), len(kinds), samples
    )
    grades = _grades(programs, told, assignments, grader)
    weights = resample(len(students), RESAMPLES, seed)
    of_student = np.array([students.index(one.start.student) for one in told])

    def rows() -> Iterator[dict[str, object]]:
        names = list(kinds)
        for (at, kind), (where, other) in combinations(enumerate(names), 2):
            if AGAIN in (kind, other) and HELPFUL not in (kind, other):
                continue
            distances = np.array([_energy(one[at], one[where]) for one in programs])
            changed = np.array([np.mean(one[at] != one[where]) for one in programs])
            for figure, values in (("distance", distances), ("changed", changed)):
                yield {"kind": kind, "other": other, "figure": figure, **estimate(values)}
        for at, kind in enumerate(KINDS):
            yield {"kind": kind, "other": None, "figure": "grade", **estimate(grades[:, at])}
            if kind != HELPFUL:
                lost = grades[:, 0] - grades[:, at]
                yield {"kind": HELPFUL, "other": kind, "figure": "grade", **estimate(lost)}

    def estimate(values: NDArray[np.float64]) -> dict[str, object]:
        value, low, high = cluster_mean(values, of_student, weights)
        return {"value": value, "low": low, "high": high}

    size = {"starts": len(told), "students": len(students)}
    return pl.DataFrame([{**row, **size} for row in rows()], schema=RESPONSES)


def _request(one: Told, kind: str, sample: int, seed: int) -> Request:
    start = one.start
    assert start.last is not None
    dialog: Dialog = replace(start.dialog, messages=list(start.dialog.messages))
    verdict = one.said[kind]
    dialog.append(start.last[0], dialog.words(verdict))
    dialog.grades += (verdict.grade,)
    return Request(dialog, 1.0, seed_of("response", seed, start.student, start.assignment, sample))


def _program(completion: Completion) -> str:
    """The program; of a turn without one, what was written, which is no program of anybody's."""
    return completion.program if completion.program is not None else f"\0{completion.content}"


def _grades(
    programs: "NDArray[np.object_]",
    told: Sequence[Told],
    assignments: "Mapping[str, Assignment]",
    grader: "Grader",
) -> NDArray[np.float64]:
    """The mean grade of the samples, [start, kind]; a turn without a program has 0."""
    asked = [
        (assignments[one.start.assignment], program)
        for one, of_start in zip(told, programs, strict=True)
        for program in of_start[: len(KINDS)].ravel()
    ]
    readable = list(
        {(task.name, program): (task, program) for task, program in asked if program[:1] != "\0"}.values()
    )
    graded = zip(readable, grader.grade(readable), strict=True)
    known = {(task.name, program): verdict.grade for (task, program), verdict in graded}
    grades = np.array([known.get((task.name, program), 0.0) for task, program in asked])
    return grades.reshape(len(told), len(KINDS), -1).mean(axis=-1)


def _energy(one: "NDArray[np.object_]", other: "NDArray[np.object_]") -> float:
    """The energy distance of two sets of samples, 0 where they are the same (Székely and Rizzo 2013)."""

    def mean(left: "NDArray[np.object_]", right: "NDArray[np.object_]") -> float:
        return float(np.mean(token_distances([(a, b) for a in left for b in right])))

    return max(0.0, 2 * mean(one, other) - mean(one, one) - mean(other, other))


def _failed(test: TestResult) -> bool:
    return test.outcome != Outcome.PASSED and bool(test.message)

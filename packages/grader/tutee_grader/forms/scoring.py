"""What all test forms share: leniency, results of tests that ended without an answer, the grade."""

import os
import signal
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from tutee_grader.sandbox.inside.words import ENDINGS
from tutee_grader.verdict import Outcome, TestResult

TOO_LARGE = "it is too large or too deeply nested"  # why a program does not compile, where Python cannot say

# How a student's process runs a program: `calls` loads it once and evaluates calls in it, `stdio` runs it
# anew for each test, `serve` answers the questions of an instructor's test code.
Mode = Literal["calls", "stdio", "serve"]


@dataclass(frozen=True, slots=True)
class Leniency:
    """Which differences in a program's output do not count."""

    trailing_blanks: str = "ignore"  # or "exact"
    case: str = "exact"  # or "ignore"
    tolerance: float = 0.0  # numbers in the text may differ by this much
    contains: bool = False  # the expected lines need only occur in the output
    strict: bool = False  # returned values must also be of the expected type: 3 is not 3.0, 1 is not True
    hide_prompts: bool = False  # the prompts passed to `input` do not count as output


class Test(Protocol):
    """One test of an assignment: a frozen dataclass, whose fields are part of its fingerprint."""

    mode: ClassVar[Mode]

    @property
    def name(self) -> str: ...

    @property
    def weight(self) -> float: ...

    @property
    def subject(self) -> str:
        """The test as the subject of a sentence: `f(2)`, `the run with input '3'`."""


class InputTest(Test, Protocol):
    """A test that sends inputs to the student's process; a comparer's process judges what comes back."""

    def inputs(self) -> object:
        """The inputs for the student's process, as `marshal` takes them; never the expected value."""

    def expectation(self, leniency: Leniency) -> tuple[object, ...]:
        """What the comparer needs, as `marshal` takes it: a key of inside/comparer.TESTS, and its fields."""


def ended(test: Test, outcome: Outcome, subject: str | None = None) -> TestResult:
    """The result of a test whose process ended before it answered."""
    return TestResult(test.name, outcome, f"{subject or test.subject} {ENDINGS[outcome]}")


def grade(tests: tuple[Test, ...], results: tuple[TestResult, ...]) -> float:
    """0 to 100: the share of the tests' weight that passed."""
    weights = [test.weight for test in tests]
    if all(result.outcome == Outcome.PASSED for result in results):
        return 100.0
    passed = sum(w for w, r in zip(weights, results, strict=True) if r.outcome == Outcome.PASSED)
    return 100.0 * passed / (sum(weights) or 1.0)


def not_run(tests: tuple[Test, ...], reason: str) -> tuple[TestResult, ...]:
    """The results of a program that cannot be run at all; the first says why."""
    first, *rest = tests
    return (
        TestResult(first.name, Outcome.NOT_RUN, reason),
        *(TestResult(test.name, Outcome.NOT_RUN) for test in rest),
    )


def outcome_of(status: int) -> Outcome:
    """The outcome of the test at which a student's process ended, from its wait status."""
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGXCPU:
        return Outcome.TIMEOUT
    return Outcome.OUT_OF_MEMORY if number == signal.SIGKILL else Outcome.ERROR

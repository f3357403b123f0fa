"""What all test forms share: reading the lines of a student's process, wording results, adding up a grade.

Nothing that a student's process writes is trusted beyond its plain values: every part is checked, and a line
of another shape is ignored.
"""

import json
import os
import re
import signal
import sys
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from tutee_grader.verdict import Outcome, TestResult

MAX_SHOWN = 160
_decode = json.JSONDecoder().raw_decode  # half the time of `json.loads`, which looks for blanks first
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+|0x[0-9a-fA-F]{9,}")
# Where a program runs and where Python lies differ from machine to machine.
_PATH = re.compile(rf"(?:(?:/\w+)+/tutee-scratch-\w+|/dev/shm|{re.escape(sys.base_prefix)})\b")

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
    hide_prompts: bool = False  # the prompts passed to `input` do not count as output


class Test(Protocol):
    """One test of an assignment: a frozen dataclass, whose repr is part of the assignment's fingerprint."""

    mode: ClassVar[Mode]

    @property
    def name(self) -> str: ...

    @property
    def weight(self) -> float: ...

    @property
    def subject(self) -> str:
        """The test as the subject of a sentence: `f(2)`, `the run with input '3'`."""


class InputTest(Test, Protocol):
    """A test that sends inputs to the student's process and judges what comes back here."""

    def inputs(self) -> object:
        """The inputs for the student's process, as `marshal` takes them; never the expected value."""

    def judge(self, message: list[Any], leniency: Leniency) -> TestResult | None:
        """The result, from the values or the output in `message`; None where it is not such a line."""


def clean(text: str, limit: int = MAX_SHOWN) -> str:
    """Text of a student's process as a student may read it: one line, no address, no path of this machine."""
    text = " ".join(text.split())
    if "0x" in text:
        text = _ADDRESS.sub("", text)
    if "/" in text:
        text = _PATH.sub(".", text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def show(value: Any) -> str:
    """A value as a student would write it."""
    try:
        return clean(_ordered(value))
    except (ValueError, RecursionError):  # an integer with too many digits to print, or a value too deep
        return "a very large value"


def _ordered(value: Any) -> str:
    if isinstance(value, set | frozenset) and value:
        try:
            items = sorted(value)
        except TypeError:
            items = sorted(value, key=repr)
        text = "{" + ", ".join(map(repr, items)) + "}"
        return text if isinstance(value, set) else f"frozenset({text})"
    return repr(value)


def parse(line: bytes) -> list[Any] | None:
    """One line of the student's process; None where it is not one of the lines it should write."""
    try:
        text = line.decode("ascii")
        message, end = _decode(text)
    except (ValueError, RecursionError):
        return None
    if end == len(text) and type(message) is list and message and type(message[0]) is str:
        return message
    return None


def error_message(message: list[Any]) -> tuple[str, str, int | None] | None:
    """Exception type, text and line out of a list that ends with them; None where it does not."""
    if len(message) < 3:
        return None
    kind, text, line = message[-3:]
    if type(kind) is not str or type(text) is not str or not (line is None or type(line) is int):
        return None
    return clean(kind, 60), clean(text), line if line is not None and 0 < line < 10_000_000 else None


def describe(kind: str, text: str, line: int | None) -> str:
    """`NameError on line 4: name 'x' is not defined`"""
    return kind + (f" on line {line}" if line else "") + (f": {text}" if text else "")


def raised(test: Test, kind: str, text: str, line: int | None, subject: str | None = None) -> TestResult:
    """The result of a test that ended in an exception."""
    subject = subject or test.subject
    if kind == "OutputLimitError":
        return ended(test, Outcome.OUTPUT_LIMIT, subject)
    if kind == "MemoryError":
        result = ended(test, Outcome.OUT_OF_MEMORY, subject)
        return TestResult(test.name, result.outcome, result.message, exception=kind, line=line)
    message = f"{subject} stopped with {describe(kind, text, line)}"
    return TestResult(test.name, Outcome.ERROR, message, exception=kind, line=line)


_ENDINGS = {
    Outcome.TIMEOUT: "did not end in time",
    Outcome.OUT_OF_MEMORY: "used too much memory",
    Outcome.OUTPUT_LIMIT: "produced too much output",
    Outcome.ERROR: "ended early",
    Outcome.NOT_RUN: "was not run",
}


def ended(test: Test, outcome: Outcome, subject: str | None = None) -> TestResult:
    """The result of a test whose process ended before it answered."""
    return TestResult(test.name, outcome, f"{subject or test.subject} {_ENDINGS[outcome]}")


def judge(test: InputTest, message: list[Any], leniency: Leniency) -> TestResult | None:
    """The result of one test from a line of the student's process; None where it is no such line."""
    tag = message[0]
    if tag == "o":
        return ended(test, Outcome.OUTPUT_LIMIT)
    if tag == "e":
        error = error_message(message[1:])
        return raised(test, *error) if error else None
    return test.judge(message, leniency)


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


def refusal(message: list[Any]) -> str:
    """Why a program does not compile."""
    error = error_message(message[1:])
    return describe(*error) if error else "SyntaxError"


def outcome_of(status: int) -> Outcome:
    """The outcome of the test at which a student's process ended, from its wait status."""
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGXCPU:
        return Outcome.TIMEOUT
    return Outcome.OUT_OF_MEMORY if number == signal.SIGKILL else Outcome.ERROR

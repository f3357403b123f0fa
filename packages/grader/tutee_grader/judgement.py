"""From what the student's process claimed to a verdict: the judge of forms calls, asserts and stdio.

Nothing a student's process says is believed beyond its plain values: every part is checked, and a line that
is not understood is not listened to.
"""

import json
import os
import re
import signal
import sys
from typing import Any

from tutee_grader.assignment import Assignment, CallTest, ClauseTest, ScriptTest, Test
from tutee_grader.comparison import equal, same_text
from tutee_grader.inside.values import decode
from tutee_grader.verdict import Outcome, TestResult

MAX_SHOWN = 160
_decode = json.JSONDecoder().raw_decode  # half the time of `json.loads`, which looks for blanks first
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+|0x[0-9a-fA-F]{9,}")
# Where a program runs and where Python lies differ from machine to machine.
_PATH = re.compile(rf"(?:(?:/\w+)+/tutee-scratch-\w+|/scratch|{re.escape(sys.base_prefix)})\b")


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


def _subject(test: Test) -> str:
    """The test as the subject of a sentence."""
    if isinstance(test, ScriptTest):
        return f"the run with {clean(test.name, 80)}"
    return clean(", ".join(test.clause.calls) if isinstance(test, ClauseTest) else test.name, 80)


def describe(kind: str, text: str, line: int | None) -> str:
    """`NameError on line 4: name 'x' is not defined`"""
    return kind + (f" on line {line}" if line else "") + (f": {text}" if text else "")


def raised(test: Test, kind: str, text: str, line: int | None, subject: str | None = None) -> TestResult:
    """The result of a test that ended in an exception."""
    subject = subject or _subject(test)
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
    """The result of a test whose process came to an end."""
    return TestResult(test.name, outcome, f"{subject or _subject(test)} {_ENDINGS[outcome]}")


def judge(assignment: Assignment, test: Test, message: list[Any]) -> TestResult | None:
    """The result of one test from the line that the student's process wrote.

    None where it is no such line.
    """
    tag = message[0]
    if tag == "o":
        return ended(test, Outcome.OUTPUT_LIMIT)
    if tag == "e":
        error = error_message(message[1:])
        return raised(test, *error) if error else None
    if (
        tag == "v"
        and isinstance(test, CallTest | ClauseTest)
        and len(message) == 2
        and type(message[1]) is list
    ):
        try:
            values = [decode(value) for value in message[1]]
        except (ValueError, TypeError, RecursionError):
            return None
        return _judge_call(test, values) if isinstance(test, CallTest) else _judge_clause(test, values)
    if tag == "s" and isinstance(test, ScriptTest) and len(message) == 3 and type(message[1]) is str:
        return _judge_script(assignment, test, message[1], message[2])
    return None


def _judge_call(test: CallTest, values: list[Any]) -> TestResult | None:
    if len(values) != 1:
        return None
    expected, got = show(test.returns), show(values[0])
    if equal(test.returns, values[0], test.tolerance):
        return TestResult(test.name, Outcome.PASSED, "", expected, got)
    message = f"{_subject(test)} returned {got}, expected {expected}"
    return TestResult(test.name, Outcome.FAILED, message, expected, got)


def _judge_clause(test: ClauseTest, values: list[Any]) -> TestResult | None:
    if len(values) != len(test.clause.calls):
        return None
    expected = test.clause.expected()
    got = ", ".join(map(show, values))
    try:
        holds = test.clause.holds(values)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError):
        holds = False  # the values are not of a kind that the clause can compare
    if holds:
        return TestResult(test.name, Outcome.PASSED, "", expected, got)
    wanted = (
        f"expected {clean(expected)}"
        if expected is not None
        else f"and this does not hold: {clean(test.name)}"
    )
    return TestResult(test.name, Outcome.FAILED, f"{_subject(test)} returned {got}, {wanted}", expected, got)


def _judge_script(assignment: Assignment, test: ScriptTest, stdout: str, error: Any) -> TestResult | None:
    if error is not None:
        described = error_message(error) if type(error) is list else None
        return raised(test, *described, subject=_subject(test)) if described else None
    expected, got = clean(repr(test.stdout)), clean(repr(stdout))
    if same_text(test.stdout, stdout, assignment.leniency):
        return TestResult(test.name, Outcome.PASSED, "", expected, got)
    message = f"{_subject(test)} printed {got}, expected {expected}"
    return TestResult(test.name, Outcome.FAILED, message, expected, got)


def grade(assignment: Assignment, results: tuple[TestResult, ...]) -> float:
    """0 to 100: the share of the tests' weight that passed."""
    weights = [test.weight for test in assignment.tests]
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
    """What the end of a student's process says of the test it was at."""
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGXCPU:
        return Outcome.TIMEOUT
    return Outcome.OUT_OF_MEMORY if number == signal.SIGKILL else Outcome.ERROR

"""What all runs of an instructor's test file share: running the file, and the words of a result.

A result is `[name, outcome, message, exception, line, share]`; `share` is the grade (0 to 100) where the test
itself gives one.
"""

import io
import sys
import types
from typing import Any

from channel import ProgramEndedError
from messages import Standard
from remote import UnsupportedError, shown
from words import clean, describe, name, quoted
from zygote_messages import CAUGHT, COMPARE

MAX_PRINTED = 2000
MAX_MESSAGE = 400

Result = list[Any]


class LimitedText(io.StringIO):
    """The first MAX_PRINTED characters that the tests print."""

    def write(self, text: str) -> int:
        if self.tell() < MAX_PRINTED:
            super().write(text[:MAX_PRINTED])
        return len(text)


class TestTooLongError(BaseException):
    """A test works for too long by itself."""

    __test__ = False


def failure(error: BaseException) -> Result:
    """Outcome, message, exception and line of the student's program."""
    student = getattr(error, "student", None)
    if student is not None:
        kind, message, line = student
        outcome = "out of memory" if kind == "MemoryError" else "error"
        return [outcome, f"stopped with {describe(kind, message, line)}", kind, line]
    if isinstance(error, ProgramEndedError):
        words = str(error)
        return [words if words in ("timeout", "out of memory", "output limit") else "error", "", None, None]
    if isinstance(error, UnsupportedError):
        return ["error", clean(f"the grader cannot run this test: {error}", MAX_MESSAGE), None, None]
    if isinstance(error, TestTooLongError):
        return ["error", "the test itself takes too long", None, None]
    if isinstance(error, AssertionError):
        text = error.args[0] if error.args else ""
        words = clean(text, MAX_MESSAGE) if type(text) is Standard else quoted(_text(error))
        return ["failed", words, None, None]
    kind, words = name(type(error).__name__, "Exception"), quoted(_text(error))
    return ["error", kind + (f": {words}" if words else ""), kind, None]


def _text(error: BaseException) -> str:
    """Its text; the test may have put one of the program's objects into it, whose text is the program's."""
    try:
        return str(error)
    except Exception:
        return ""


def settled(result: Result, asker: Any) -> Result:
    """What a test comes to that ended with this result, whatever it caught.

    One in which the program ended, say, has none of its own. One that caught the lack of a name in a handler
    of any exception has not passed.
    """
    if asker.fault is not None:
        return failure(asker.fault)
    if asker.lacked is not None and result[0] == "passed":
        return failure(asker.lacked)
    return result


def execute(code: types.CodeType, asker: Any) -> dict[str, Any]:
    """Run the instructor's file as a module. Raises the program's fault as well, caught or not."""
    module = types.ModuleType("tests")
    sys.modules["tests"] = module
    module.__dict__.update({COMPARE: _compare, CAUGHT: asker.caught})
    exec(code, module.__dict__)
    if asker.fault is not None:
        raise asker.fault
    return module.__dict__


_COMPARISONS: dict[str, tuple[str, Any]] = {
    "Eq": ("", lambda a, b: a == b),
    "NotEq": ("anything but ", lambda a, b: a != b),
    "Lt": ("less than ", lambda a, b: a < b),
    "LtE": ("at most ", lambda a, b: a <= b),
    "Gt": ("more than ", lambda a, b: a > b),
    "GtE": ("at least ", lambda a, b: a >= b),
    "In": ("one of ", lambda a, b: a in b),
    "NotIn": ("none of ", lambda a, b: a not in b),
    "Is": ("", lambda a, b: a is b),
    "IsNot": ("anything but ", lambda a, b: a is not b),
}


def _compare(text: str, operator: str, got: Any, expected: Any) -> None:
    if operator == "Holds":
        if not got:
            raise AssertionError(Standard(f"{text} does not hold"))
        return
    words, holds = _COMPARISONS[operator]
    if not holds(got, expected):
        raise AssertionError(Standard(f"{text} is {shown(got)}, expected {words}{shown(expected)}"))

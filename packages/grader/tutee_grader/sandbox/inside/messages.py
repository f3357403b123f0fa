"""What a failing test says, in time linear in what it compares, with the program's words marked as such.

`unittest` words its messages by difflib and pprint, which take minutes for long values, by `repr`, in which a
program's object may say anything, and with the texts of exceptions as they are. `install` replaces that in a
judge's process. Short plain values are worded as ever.
"""

import difflib
import pprint
import types
import unittest
import unittest.util
from typing import Any

from raising import Waiting, accepts
from remote import in_words, shown
from words import name, quoted, show

MAX_DIFF_LINES = 20
MAX_DIFF_CHARS = 400


class Standard(str):
    """A message in the grader's or unittest's own words; any other is quoted."""

    __slots__ = ()


def install() -> None:
    """Replace the parts of unittest that word messages and wait for exceptions, in a judge's process."""
    Waiting.is_judge = True
    case: Any = unittest.case
    case.repr = case.safe_repr = unittest.util.safe_repr = _safe_repr  # type: ignore[assignment]
    case.pprint = types.SimpleNamespace(pformat=_pformat)
    case.difflib = types.SimpleNamespace(ndiff=_ndiff)
    case._count_diff_all_purpose = _count_unhashable
    case._count_diff_hashable = _count_hashable
    case._AssertRaisesContext = RaisesContext
    test_case: Any = unittest.TestCase
    test_case._formatMessage = _format_message
    test_case.assertMultiLineEqual = _assert_texts_equal
    test_case.assertIsInstance = _assert_is_instance
    test_case.assertNotIsInstance = _assert_is_no_instance


def _safe_repr(value: Any, short: bool = False) -> str:
    return shown(value)


def _pformat(value: Any) -> str:
    text = shown(value)
    is_plain = True

    def note(other: Any) -> str:
        nonlocal is_plain
        is_plain = False
        return in_words(other)

    is_short = len(show(value, other=note)) < MAX_DIFF_CHARS and not text.endswith("...")
    return pprint.pformat(value) if is_short and is_plain else text


def _ndiff(first: list[str], second: list[str]) -> Any:
    lines = [*first, *second]
    is_short = len(lines) <= MAX_DIFF_LINES and sum(map(len, lines)) <= MAX_DIFF_CHARS
    return difflib.ndiff(first, second) if is_short else ()


class _Shown:
    """A value whose repr is what a message shows."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        return shown(self._value)


_hashable = unittest.util._count_diff_hashable
_all_purpose = unittest.util._count_diff_all_purpose


def _count_hashable(first: Any, second: Any) -> list[Any]:
    return [(a, b, _Shown(value)) for a, b, value in _hashable(first, second)]


def _count_unhashable(first: Any, second: Any) -> list[Any]:
    """Compares each with each, which only a test's own length allows."""
    found, wanted = list(first), list(second)
    if len(found) != len(wanted) and max(len(found), len(wanted)) > MAX_DIFF_LINES:
        return [(len(found), len(wanted), _Shown("elements"))]
    return [(a, b, _Shown(value)) for a, b, value in _all_purpose(found, wanted)]


def _format_message(self: Any, message: Any, standard: str) -> Any:
    if message is None:
        return Standard(standard)
    return Standard(f"{standard} : {quoted(str(message))}") if self.longMessage else message or standard


def _assert_texts_equal(self: Any, first: Any, second: Any, msg: Any = None) -> None:
    """Without the lines of difference, in which the program's text would stand unmarked."""
    self.assertIsInstance(first, str, "First argument is not a string")
    self.assertIsInstance(second, str, "Second argument is not a string")
    if first != second:
        texts = unittest.util._common_shorten_repr(first, second)
        self.fail(self._formatMessage(msg, "{} != {}".format(*texts)))


def _assert_is_instance(self: Any, obj: Any, cls: Any, msg: Any = None) -> None:
    if not isinstance(obj, cls):
        self.fail(self._formatMessage(msg, f"{shown(obj)} is not an instance of {shown(cls)}"))


def _assert_is_no_instance(self: Any, obj: Any, cls: Any, msg: Any = None) -> None:
    if isinstance(obj, cls):
        self.fail(self._formatMessage(msg, f"{shown(obj)} is an instance of {shown(cls)}"))


class RaisesContext(unittest.case._AssertRaisesContext):
    """What `assertRaises` returns."""

    def __enter__(self) -> Any:
        Waiting.depth += 1
        return super().__enter__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        Waiting.depth -= 1
        own: Any = self
        if error is None:
            own.obj_name = own.obj_name and name(str(own.obj_name), "the call")
            return bool(super().__exit__(kind, error, trace))
        if not accepts(error, own.expected):
            return False
        own.exception = error.with_traceback(None)
        pattern = own.expected_regex
        if pattern is not None and not pattern.search(str(error)):
            own._raiseFailure(f'"{pattern.pattern}" does not match {quoted(str(error))}')
        return True

"""The little of pytest that instructors' files use: raises, approx, mark.parametrize."""

import re
import types
from typing import Any

from messages import Standard
from raising import Waiting, accepts
from remote import shown
from words import name, quoted
from zygote_messages import PYTEST_MARKS, PYTEST_NAMES


class _Raises:
    def __init__(self, expected: Any, match: "str | None" = None) -> None:
        self.expected = expected
        self.match = match
        self.value: BaseException | None = None

    def __enter__(self) -> "_Raises":
        Waiting.depth += 1
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> bool:
        Waiting.depth -= 1
        if kind is None:
            what = name(str(getattr(self.expected, "__name__", "")), "an exception")
            raise AssertionError(Standard(f"{what} was not raised"))
        if not accepts(value, self.expected):
            return False
        self.value = value
        if self.match is not None and not re.search(self.match, str(value)):
            words = f"the message {quoted(str(value))} does not match {self.match!r}"
            raise AssertionError(Standard(words))
        return True


def raises(expected: Any, *arguments: Any, match: "str | None" = None, **options: Any) -> Any:
    """As pytest's: a context manager, or at once with a function and its arguments."""
    context = _Raises(expected, match)
    if not arguments:
        return context
    function, *rest = arguments
    with context:
        function(*rest, **options)
    return context


class approx:  # noqa: N801
    """As pytest's: equal within a relative 1e-6 or an absolute 1e-12, or within `rel` and `abs`."""

    def __init__(self, expected: Any, rel: "float | None" = None, abs: "float | None" = None) -> None:
        self.expected = expected
        self.rel = rel
        self.abs = abs

    def __eq__(self, other: object) -> bool:
        return self._near(self.expected, other)

    __hash__ = None  # type: ignore[assignment]

    def _near(self, want: Any, got: Any) -> bool:
        if isinstance(want, list | tuple):
            return type(got) is type(want) and len(got) == len(want) and all(map(self._near, want, got))
        if isinstance(want, dict):
            return (
                type(got) is dict
                and got.keys() == want.keys()
                and all(self._near(want[k], got[k]) for k in want)
            )
        if isinstance(want, bool) or not isinstance(want, int | float) or not isinstance(got, int | float):
            return bool(want == got)
        relative = (1e-6 if self.rel is None and self.abs is None else self.rel or 0.0) * abs(want)
        if want == got:
            return True
        try:
            return abs(want - got) <= max(relative, 1e-12 if self.abs is None else self.abs)
        except OverflowError:  # an integer beyond all floats
            return False

    def __repr__(self) -> str:
        return f"about {shown(self.expected)}"


def parametrize(names: Any, values: Any, **_: Any) -> Any:
    listed = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)

    def decorate(function: Any) -> Any:
        rows = [row if len(listed) > 1 else (row,) for row in values]
        before = getattr(function, "cases", [{}])
        function.cases = [case | dict(zip(listed, row, strict=True)) for row in rows for case in before]
        return function

    return decorate


mark = types.SimpleNamespace(**{key: globals()[key] for key in PYTEST_MARKS})


def module() -> types.ModuleType:
    """The stand-in for the module `pytest`."""
    stub = types.ModuleType("pytest")
    stub.__dict__.update({key: globals()[key] for key in PYTEST_NAMES})
    return stub

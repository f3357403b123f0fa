"""Whether a returned value or a printed text is the expected one.

The work is linear in the value or the text, times the length of the expected one.
"""

import math
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

# A sign after a letter or a digit is a hyphen or an operator's.
_NUMBER = re.compile(r"(?:(?<![\w.])[-+])?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?")
_LONG_NUMBER = 400  # characters: a longer one is compared as text


def equal(expected: Any, got: Any, tolerance: "float | None" = None, strict: bool = False) -> bool:
    """Python's own ==, so that 1 equals 1.0 and True; but nan equals nan.

    With a tolerance, numbers may differ by that much, also those inside lists, tuples and dicts. `strict`:
    values must also be of the same type, also inside of others.
    """
    try:
        return (not strict or _same_types(expected, got)) and _equal(expected, got, tolerance)
    except (ArithmeticError, TypeError, ValueError):  # a signalling nan, a number too large for a float
        return False


def _equal(expected: Any, got: Any, tolerance: "float | None") -> bool:
    if _is_number(expected) and _is_number(got):
        if (
            isinstance(expected, float)
            and isinstance(got, float)
            and math.isnan(expected)
            and math.isnan(got)
        ):
            return True
        return bool(expected == got) or (tolerance is not None and _near(expected, got, tolerance))
    if type(expected) in (list, tuple) and type(expected) is type(got):
        return len(expected) == len(got) and all(
            _equal(one, other, tolerance) for one, other in zip(expected, got, strict=True)
        )
    if type(expected) is dict and type(got) is dict:
        return expected.keys() == got.keys() and all(
            _equal(expected[key], got[key], tolerance) for key in expected
        )
    return bool(expected == got)


def _same_types(expected: Any, got: Any) -> bool:
    if type(expected) is not type(got):
        return False
    if type(expected) in (list, tuple):
        return len(expected) == len(got) and all(map(_same_types, expected, got))
    if type(expected) is dict:
        keys = {key: key for key in got}
        return all(
            key in got and _same_types(key, keys[key]) and _same_types(item, got[key])
            for key, item in expected.items()
        )
    if type(expected) in (set, frozenset):
        items = {item: item for item in got}
        return all(item in items and _same_types(item, items[item]) for item in expected)
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | complex | Fraction | Decimal)


def _near(expected: Any, got: Any, tolerance: float) -> bool:
    if isinstance(expected, Decimal) or isinstance(got, Decimal):
        expected, got = float(expected), float(got)  # which do not mix with the others
    return bool(abs(expected - got) <= tolerance)


def same_text(
    expected: str,
    got: str,
    trailing_blanks: str = "ignore",
    case: str = "exact",
    tolerance: float = 0.0,
    contains: bool = False,
) -> bool:
    """Whether a program's output is the expected text, but for the differences that do not count (see
    `tutee_grader.forms.scoring.Leniency`).
    """
    wanted, found = _lines(expected, trailing_blanks, case), _lines(got, trailing_blanks, case)
    if contains:
        remaining = iter(found)
        return all(any(_contains(line, want, tolerance) for line in remaining) for want in wanted if want)
    return len(wanted) == len(found) and all(
        want == line or (tolerance > 0 and _same_line(want, line, tolerance))
        for want, line in zip(wanted, found, strict=True)
    )


def _lines(text: str, trailing_blanks: str, case: str) -> "list[str]":
    text = text.replace("\r\n", "\n")
    if case == "ignore":
        text = text.casefold()
    lines = text.split("\n")
    if trailing_blanks == "ignore":
        lines = [line.rstrip() for line in lines]
        while lines and not lines[-1]:
            lines.pop()
    return lines


def _same_line(want: str, line: str, tolerance: float) -> bool:
    if _NUMBER.split(want) != _NUMBER.split(line):
        return False
    numbers = zip(_NUMBER.findall(want), _NUMBER.findall(line), strict=True)
    return all(_near_text(a, b, tolerance) for a, b in numbers)


def _near_text(want: str, got: str, tolerance: float) -> bool:
    if want == got:
        return True
    if len(want) > _LONG_NUMBER or len(got) > _LONG_NUMBER:
        return False
    return abs(float(want) - float(got)) <= tolerance


def _contains(line: str, want: str, tolerance: float) -> bool:
    """Whether `want` occurs in the line, its numbers within the tolerance and not as parts of others."""
    numbers = _NUMBER.findall(want)
    if (not tolerance or not numbers) and want not in line:
        return False
    if not numbers:
        return True
    first, *between, last = _NUMBER.split(want)
    texts, found = _NUMBER.split(line), _NUMBER.findall(line)
    for start in range(len(found) - len(numbers) + 1):
        end = start + len(numbers)
        if (
            texts[start].endswith(first)
            and texts[end].startswith(last)
            and texts[start + 1 : end] == between
            and all(map(_near_text, numbers, found[start:end], [tolerance] * len(numbers)))
        ):
            return True
    return False

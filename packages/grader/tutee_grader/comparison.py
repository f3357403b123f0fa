"""Comparing what came out with what was expected. Runs outside the sandbox, over plain built-in values."""

import math
import re
from typing import Any

from tutee_grader.assignment import Leniency

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def equal(expected: Any, got: Any, tolerance: float | None) -> bool:
    """Python's own ==, so that 1 equals 1.0 and True; but nan equals nan.

    With a tolerance, numbers may differ by that much, also those inside lists, tuples and dicts.
    """
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
            equal(one, other, tolerance) for one, other in zip(expected, got, strict=True)
        )
    if type(expected) is dict and type(got) is dict:
        return expected.keys() == got.keys() and all(
            equal(expected[key], got[key], tolerance) for key in expected
        )
    return bool(expected == got)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | complex)


def _near(expected: Any, got: Any, tolerance: float) -> bool:
    try:
        return bool(abs(expected - got) <= tolerance)
    except OverflowError:  # an integer too long for a float
        return False


def same_text(expected: str, got: str, leniency: Leniency) -> bool:
    """Whether a program's output is the expected text, overlooking what the assignment overlooks."""
    wanted, found = _lines(expected, leniency), _lines(got, leniency)
    if leniency.contains:
        remaining = iter(found)
        return all(any(_contains(line, want, leniency) for line in remaining) for want in wanted if want)
    return len(wanted) == len(found) and all(
        map(_same_line, wanted, found, [leniency.tolerance] * len(wanted))
    )


def _lines(text: str, leniency: Leniency) -> list[str]:
    text = text.replace("\r\n", "\n")
    if leniency.case == "ignore":
        text = text.casefold()
    lines = text.split("\n")
    if leniency.trailing_blanks == "ignore":
        lines = [line.rstrip() for line in lines]
        while lines and not lines[-1]:
            lines.pop()
    return lines


def _contains(line: str, want: str, leniency: Leniency) -> bool:
    if want in line:
        return True
    if not leniency.tolerance:
        return False
    pattern = _NUMBER.sub("\0", want).split("\0")
    numbers = _NUMBER.findall(want)
    if not numbers:
        return False
    regex = re.escape(pattern[0]) + "".join(f"({_NUMBER.pattern}){re.escape(part)}" for part in pattern[1:])
    for match in re.finditer(regex, line):
        if all(
            abs(float(a) - float(b)) <= leniency.tolerance
            for a, b in zip(numbers, match.groups(), strict=True)
        ):
            return True
    return False


def _same_line(want: str, found: str, tolerance: float) -> bool:
    if want == found:
        return True
    if not tolerance or _NUMBER.sub("\0", want) != _NUMBER.sub("\0", found):
        return False
    pairs = zip(_NUMBER.findall(want), _NUMBER.findall(found), strict=True)
    return all(abs(float(a) - float(b)) <= tolerance for a, b in pairs)

"""What a novice makes of the grader's feedback: a clue to what is wrong, and how likely it leads to a bug.

Of a test that failed, only what the feedback shows is used. A student told of the first failing test reads
the same in it whether or not the passed tests are counted beside it.
"""

import ast
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from misconceptions import Bug


class Sign(StrEnum):
    """What strikes a novice in a feedback."""

    SYNTAX = "does not compile"
    EXCEPTION = "an exception"
    ENDLESS = "took too long"
    NOTHING = "nothing came back"
    CHATTY = "more was printed than asked for"
    NEAR = "nearly right"
    SOME = "some tests passed"
    ALL = "every test failed"
    NONE = "no feedback"


@dataclass(frozen=True)
class Clue:
    """What strikes a novice, with the line (from 1) the feedback names, if it names one."""

    sign: Sign
    line: int | None = None


# How likely a bug of a kind is found, for each sign: (kinds that the sign speaks of, chance), others' chance.
_FOUND: dict[Sign, tuple[frozenset[str], float, float]] = {
    Sign.SYNTAX: (frozenset({"syntax"}), 0.8, 0.02),
    Sign.EXCEPTION: (frozenset({"name", "crash"}), 0.75, 0.08),
    Sign.ENDLESS: (frozenset({"endless"}), 0.8, 0.12),
    Sign.NOTHING: (frozenset({"nothing"}), 0.85, 0.08),
    Sign.CHATTY: (frozenset({"output"}), 0.8, 0.1),
    Sign.NEAR: (frozenset({"bounds", "initial"}), 0.8, 0.35),
    Sign.SOME: (frozenset({"case", "bounds", "initial"}), 0.75, 0.4),
    Sign.ALL: (frozenset({"value", "output"}), 0.65, 0.35),
    Sign.NONE: (frozenset(), 0.0, 0.15),
}
_ON_THE_LINE = 0.9  # the feedback names the very line


def chance(clue: Clue, bug: Bug, lines: range, skill: float) -> float:
    """How likely a student of this skill (0..1) finds and fixes a bug, having seen this clue.

    `lines`: where the bug stands in the program that was handed in, from 0.
    """
    kinds, pointed, other = _FOUND[clue.sign]
    found = pointed if bug.kind in kinds else other
    if clue.line is not None and clue.line - 1 in lines:
        found = _ON_THE_LINE
    return min(0.97, found * (0.85 + 0.35 * skill))


def seen(verdict: Any, level: str) -> tuple[Clue, ...]:
    """The clues in what the grader says of a verdict at this level of feedback."""
    if level == "none":
        return (Clue(Sign.NONE),)
    failed = [test for test in verdict.tests if test.outcome != "passed"]
    shown = failed if level == "full" else failed[:1]
    return tuple(read(verdict, test) for test in shown) or (read(verdict, None),)


def read(verdict: Any, failed: Any) -> Clue:
    """The clue in a test of a verdict of tutee_grader that failed; None: no test says anything."""
    if verdict.status == "does not compile":
        named = re.search(r"on line (\d+)", failed.message) if failed else None
        return Clue(Sign.SYNTAX, int(named[1]) if named else None)
    if failed is None:
        return Clue(Sign.NONE)
    if failed.outcome == "timeout":
        return Clue(Sign.ENDLESS)
    if failed.exception:
        return Clue(Sign.EXCEPTION, failed.line)
    got, expected = _plain(failed.got), _plain(failed.expected)
    if got in ("None", ""):
        return Clue(Sign.NOTHING)
    if len(got) > len(expected) and got.endswith(expected):
        return Clue(Sign.CHATTY)
    if _near(got, expected):
        return Clue(Sign.NEAR)
    return Clue(Sign.SOME if verdict.grade > 0 else Sign.ALL)


def _plain(shown: str | None) -> str:
    """A value as the feedback shows it; of a text, the text itself."""
    try:
        value = ast.literal_eval(shown or "''")
    except (ValueError, SyntaxError):
        return shown or ""
    return value if isinstance(value, str) else str(value)


def _near(got: str, expected: str) -> bool:
    """Off by one, in a number, or in the length of a text or collection, or nothing but blanks and case."""
    if re.sub(r"\s+", "", got).lower() == re.sub(r"\s+", "", expected).lower():
        return True
    try:
        left, right = ast.literal_eval(got.strip()), ast.literal_eval(expected.strip())
    except (ValueError, SyntaxError):
        return abs(got.count("\n") - expected.count("\n")) == 1
    if isinstance(left, bool) or isinstance(right, bool):
        return False
    if isinstance(left, int | float) and isinstance(right, int | float):
        return abs(left - right) == 1
    return False

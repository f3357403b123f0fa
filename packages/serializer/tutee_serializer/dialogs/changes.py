"""Changes of a program's lines: finds those between two programs, and makes them.

Lines are what newlines separate, so a final newline is an empty last line and every program
comes back exactly.
"""

from difflib import SequenceMatcher
from typing import NamedTuple, Self

from tutee_serializer.errors import TurnError

# Pairs of lines that are compared to find a small change; the time grows with their number to the power 1.5.
COMPARED = 250_000


class Edit(NamedTuple):
    """Lines `first` to `last` of a program, counted from 1, become `lines`.

    Where `last` is `first` - 1, the new lines come before line `first`.
    """

    first: int
    last: int
    lines: list[str]

    @classmethod
    def replace(cls, first: int, last: int, lines: list[str]) -> Self:
        """Lines `first` to `last` become `lines`; raises TurnError where they are the wrong way round."""
        if last < first:
            raise TurnError(f"lines {first} to {last} are out of order")
        return cls(first, last, lines)

    @classmethod
    def insert(cls, after: int, lines: list[str]) -> Self:
        """The lines come after line `after`; 0: before the first."""
        return cls(after + 1, after, lines)


def common_ends(old: list[str], new: list[str]) -> tuple[int, int]:
    """How many lines at the beginning and, of the others, at the end are the same."""
    start, end = 0, 0
    shorter = min(len(old), len(new))
    while start < shorter and old[start] == new[start]:
        start += 1
    while end < shorter - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return start, end


def find_changes(old: list[str], new: list[str]) -> list[tuple[int, int, int, int]]:
    """The ranges that differ: old[a:b] becomes new[c:d]. Few and small, in ascending order.

    Where both programs have very many lines between the first and the last that differ, that is one range.
    """
    start, end = common_ends(old, new)
    a, b, c, d = start, len(old) - end, start, len(new) - end
    if a == b and c == d:
        return []
    if a == b or c == d or b - a == d - c == 1 or (b - a) * (d - c) > COMPARED:
        return [(a, b, c, d)]
    matcher = SequenceMatcher(None, old[a:b], new[c:d], autojunk=False)
    return [(a + i, a + j, c + k, c + m) for tag, i, j, k, m in matcher.get_opcodes() if tag != "equal"]


def apply_edits(old: list[str], edits: list[Edit], forgiven: list[str]) -> list[str]:
    """The program after all `edits`, whose numbers are those of `old`.

    Forgives edits out of order and lines that go on one past the end, and notes both in `forgiven`. Raises
    TurnError where an edit names no line of the program, or two edits the same one.
    """
    ordered = sorted(edits, key=lambda edit: (edit.first, edit.last))
    if ordered != edits:
        forgiven.append("lines out of order")
    new: list[str] = []
    done, end = 0, len(old)  # lines of the old program behind us; the last number that may be used
    for first, last, lines in ordered:
        if last == end + 1 and lines:
            forgiven.append("a line past the end")
            if first > len(old):
                first, last, end = len(old) + 1, len(old), last
            else:
                last = len(old)
        if first < 1 or last > len(old):
            raise TurnError(f"line {last if first else 0} is not one of the program's {len(old)}")
        if first <= done:
            raise TurnError(f"line {first} is edited twice")
        new += old[done : first - 1]
        new += lines
        done = last
    return new + old[done:]

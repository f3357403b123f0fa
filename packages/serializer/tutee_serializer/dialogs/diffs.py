"""Unified diffs: writes one of one hunk, and applies any to a program."""

import re
from dataclasses import dataclass, field
from itertools import pairwise

from tutee_serializer.dialogs.changes import find_changes
from tutee_serializer.errors import TurnError

CONTEXT = 3
_HEADER = re.compile(r"@@ -([0-9]{1,6}),([0-9]{1,6}) \+([0-9]{1,6}),([0-9]{1,6}) @@")
_NUMBERS = re.compile(r"@@\s*-([0-9]{1,6})(?:,([0-9]{1,6}))?.*")
_FILES = ("--- ", "+++ ", "diff ", "index ")


@dataclass
class _Hunk:
    """Lines of a diff, each its sign (one of " -+") and text, with the header's numbers where it has some.

    The first line is number `start` of the program, counted from 0, and `size` lines are the program's.
    """

    header: str
    start: int | None = None
    size: int | None = None
    lines: list[tuple[str, str]] = field(default_factory=list)

    @property
    def old(self) -> list[str]:
        """The lines that the program must have."""
        return [text for sign, text in self.lines if sign != "+"]


def write_diff(old: list[str], new: list[str]) -> str | None:
    """A unified diff; None unless it has one hunk and changes less than half of the lines."""
    changes = find_changes(old, new)
    if not changes or any(b[0] - a[1] > 2 * CONTEXT for a, b in pairwise(changes)):
        return None
    removed = sum(b - a for a, b, _, _ in changes)
    added = sum(d - c for _, _, c, d in changes)
    if 2 * max(removed, added) >= len(old):
        return None
    first, last = max(changes[0][0] - CONTEXT, 0), min(changes[-1][1] + CONTEXT, len(old))
    body, at = [], first
    for a, b, c, d in changes:
        body += [" " + line for line in old[at:a]]
        body += ["-" + line for line in old[a:b]]
        body += ["+" + line for line in new[c:d]]
        at = b
    body += [" " + line for line in old[at:last]]
    size = last - first
    return "\n".join([f"@@ -{first + 1},{size} +{first + 1},{size - removed + added} @@", *body])


def apply_diff(old: list[str], diff: str, forgiven: list[str]) -> list[str]:
    """The program that a diff makes of `old`, hunk by hunk, each behind the one before.

    A hunk stands where its numbers say, or else where its content fits: nearest to its number, or, without
    one, at the only place. Trailing blanks of the program's lines are those of the program. Whatever
    deviates from a hunk with right numbers is noted in `forgiven`. Raises TurnError where the diff fits
    nowhere, or equally well at two places.
    """
    new: list[str] = []
    done = 0
    for hunk in _parse(diff, forgiven):
        at = _place(hunk, old, done, forgiven)
        new += old[done:at]
        for sign, text in hunk.lines:
            if sign == "+":
                new.append(text)
            else:
                new += old[at : at + 1] if sign == " " else []
                at += 1
        done = at
    return new + old[done:]


def _parse(diff: str, forgiven: list[str]) -> list[_Hunk]:
    lines = _without_files(_without_blank_ends(diff.split("\n"), forgiven), forgiven)
    hunks: list[_Hunk] = []
    for line in lines:
        if line.startswith("@@"):
            hunks.append(_opened(line, forgiven))
            continue
        if not hunks:
            forgiven.append("no hunk header")
            hunks.append(_Hunk(""))
        if line == "":
            forgiven.append("other trailing blanks")
            hunks[-1].lines.append((" ", ""))
        elif line[0] in " -+":
            hunks[-1].lines.append((line[0], line[1:]))
        elif line.startswith("\\ No newline"):
            forgiven.append("a note on the last newline")
        else:
            raise TurnError(f"neither context nor change: {line[:40]!r}")
    hunks = [hunk for hunk in hunks if hunk.lines]
    if not hunks:
        raise TurnError("a diff without a hunk")
    for hunk in hunks:
        numbers = _HEADER.fullmatch(hunk.header)
        added = sum(sign != "-" for sign, _ in hunk.lines)
        if numbers and (int(numbers[2]), int(numbers[4])) != (len(hunk.old), added):
            forgiven.append("other numbers of lines")
    return hunks


def _without_blank_ends(lines: list[str], forgiven: list[str]) -> list[str]:
    """Blank lines at either end are no context: they would be written with a blank."""
    full = [number for number, line in enumerate(lines) if line]
    kept = lines[full[0] : full[-1] + 1] if full else []
    if len(kept) < len(lines):
        forgiven.append("blank lines around the diff")
    return kept


def _without_files(lines: list[str], forgiven: list[str]) -> list[str]:
    """Names of files stand before the first header, or open a diff without one."""
    headers = [number for number, line in enumerate(lines) if line.startswith("@@")]
    if headers:
        before = lines[: headers[0]]
        odd = next((line for line in before if not line.startswith(_FILES)), None)
        if odd is not None:
            raise TurnError(f"no hunk before {odd[:40]!r}")
    else:
        named = len(lines) > 1 and lines[0].startswith("--- ") and lines[1].startswith("+++ ")
        before = lines[:2] if named else []
    if before:
        forgiven.append("names of files")
    return lines[len(before) :]


def _opened(header: str, forgiven: list[str]) -> _Hunk:
    numbers = _NUMBERS.fullmatch(header)
    if numbers is None:
        forgiven.append("a hunk header without numbers")
        return _Hunk(header)
    if not _HEADER.fullmatch(header):
        forgiven.append("another hunk header")
    start, size = int(numbers[1]), int(numbers[2] or 1)
    return _Hunk(header, max(start - 1, 0) if size else start, size)


def _place(hunk: _Hunk, old: list[str], done: int, forgiven: list[str]) -> int:
    """The number of the hunk's first line in `old`, counted from 0, not before `done`."""
    wanted, start = hunk.old, hunk.start
    if not wanted:
        return _place_of_new_lines(hunk, old, done)
    size = len(wanted)
    if start is not None and start >= done and old[start : start + size] == wanted:
        return start
    bare, bare_wanted = ([line.rstrip() for line in lines] for lines in (old, wanted))
    fits = [at for at in range(done, len(old) - size + 1) if bare[at : at + size] == bare_wanted]
    exact = [at for at in fits if old[at : at + size] == wanted]
    if start in fits or not exact:
        forgiven.append("other trailing blanks")
    if start in fits:
        return start
    fits = exact or fits
    if not fits:
        raise TurnError(_misfit(hunk, bare, bare_wanted, done))
    if start is None:
        if len(fits) > 1:
            raise TurnError(f"the diff fits lines {fits[0] + 1} and {fits[1] + 1} of the program")
        return fits[0]
    forgiven.append("other line numbers")
    nearest, *others = sorted(fits, key=lambda at: abs(at - start))
    if others and abs(others[0] - start) == abs(nearest - start):
        raise TurnError(f"the diff fits lines {nearest + 1} and {others[0] + 1} of the program")
    return nearest


def _place_of_new_lines(hunk: _Hunk, old: list[str], done: int) -> int:
    """The place of a hunk that has no line of the program: only a header such as @@ -3,0 +4,2 @@ says it."""
    if hunk.size != 0 or hunk.start is None:
        raise TurnError("the diff does not say between which lines its new lines come")
    if not done <= hunk.start <= len(old):
        raise TurnError(f"the hunk {hunk.header!r} does not fit the program's {len(old)} lines")
    return hunk.start


def _misfit(hunk: _Hunk, old: list[str], wanted: list[str], done: int) -> str:
    if hunk.start is None or hunk.start < done:
        return "the diff fits nowhere in the program"
    there = old[hunk.start : hunk.start + len(wanted)]
    same = next((n for n, pair in enumerate(zip(there, wanted, strict=False)) if pair[0] != pair[1]), None)
    line = hunk.start + 1 + (len(there) if same is None else same)
    return f"the diff does not fit line {line} of the program"

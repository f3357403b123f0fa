"""The changes of a program, line by line."""

import difflib
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A line of a program; `mark` compares it with the previous program: same, added, removed."""

    mark: str
    text: str


def marked(previous: str, code: str) -> list[Line]:
    """The lines of `code`, and those of `previous` that were removed, each with its mark."""
    old, new = previous.splitlines(), code.splitlines()
    lines: list[Line] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            lines += [Line("same", text) for text in new[c:d]]
        else:
            lines += [Line("removed", text) for text in old[a:b]] + [Line("added", text) for text in new[c:d]]
    return lines

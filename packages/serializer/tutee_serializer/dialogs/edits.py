"""The format `edits`, for tiny models: the lines that change, behind marks that are one token each.

<|1|>def f(n):<|2|>    return n         a program in a feedback turn, two lines
<|+|>def f(n):<|+|>    return n         a whole program in a student's turn
<|2|>    return n + 1                   line 2 becomes this line
<|2|><|to|><|4|>    x = 1<|+|>    y     lines 2 to 4 become these two
<|2|><|-|>                              line 2 goes
<|2|><|after|>    print(n)              a line comes after line 2 (0: before the first)
<|same|>                                nothing changes
"""

import re

from tutee_serializer.dialogs.changes import Edit, apply_edits, find_changes
from tutee_serializer.dialogs.fences import DIFF, UNTAGGED, read_block
from tutee_serializer.dialogs.markup import escape, unescape
from tutee_serializer.errors import TurnError

NUMBERED = 100  # line numbers 0 to 99 are one token each; further ones are spelled out
MARKERS = ("<|+|>", "<|-|>", "<|to|>", "<|after|>", "<|same|>", *(f"<|{n}|>" for n in range(NUMBERED)))

# Possessive: a repetition that may give back keeps a state for each "<", a hundred bytes of it.
_TEXT = r"[^<]*+(?:<(?!\|)[^<]*+)*+"
_LINES = rf"{_TEXT}(?:<\|\+\|>{_TEXT})*+"
_WHOLE = re.compile(rf"<\|\+\|>({_LINES})")
_EDIT = re.compile(
    rf"<\|([0-9]{{1,6}})\|>"
    rf"(?:<\|after\|>({_LINES})|(?:<\|to\|><\|([0-9]{{1,6}})\|>)?(?:<\|-\|>(\s*)|({_LINES})))"
)


def write_numbered(program: str) -> str:
    """The program with numbered lines, as a feedback turn shows it."""
    return "".join(f"<|{number}|>{line}" for number, line in enumerate(escape(program).split("\n"), 1))


def write_edits(previous: str | None, program: str) -> str:
    """The turn that hands in `program` after `previous` (None: the first attempt)."""
    new = escape(program).split("\n")
    if previous is None:
        return "<|+|>" + "<|+|>".join(new)
    old = escape(previous).split("\n")
    changes = find_changes(old, new)
    if not changes:
        return "<|same|>"
    if changes == [(0, len(old), 0, len(new))]:
        return "<|+|>" + "<|+|>".join(new)
    turn = []
    for a, b, c, d in changes:
        if a == b:
            turn.append(f"<|{a}|><|after|>")
        else:
            turn.append(f"<|{a + 1}|>" if b == a + 1 else f"<|{a + 1}|><|to|><|{b}|>")
            if c == d:
                turn.append("<|-|>")
        turn.append("<|+|>".join(new[c:d]))
    return "".join(turn)


def read_edits(previous: str | None, content: str, forgiven: list[str]) -> str:
    """The program of a turn; what deviates from `write_edits` is noted in `forgiven`.

    Raises TurnError where the turn holds no program.
    """
    if not content.strip():
        raise TurnError("an empty turn")
    if "<|" not in content and "```" in content:
        kind, body = read_block(content, lambda body: UNTAGGED, [])
        if kind == DIFF:
            raise TurnError("a diff, but the format is edits")
        forgiven.append("a whole program in a fence")
        return unescape(body)
    if "\n" in content:  # where lines are marks, newlines between them say nothing
        forgiven.append("newlines")
        content = re.sub(r"(?<!\n)\n++(?=<\||\Z)", "", content.replace("\r\n", "\n"))
    whole = _WHOLE.fullmatch(content)
    if whole is not None:
        return "\n".join(map(unescape, whole[1].split("<|+|>")))
    if previous is None:
        raise TurnError("no whole program, but there is no program before it to edit")
    if content.rstrip() == "<|same|>":
        if content != "<|same|>":
            forgiven.append("blanks around the turn")
        return previous
    edits: list[Edit] = []
    at = 0
    while at < len(content):
        edit = _EDIT.match(content, at)
        if edit is None:
            raise TurnError(f"no edit at character {at}: {content[at : at + 20]!r}")
        at = edit.end()
        number, after, to, blanks, instead = edit.groups()
        lines = after if instead is None else instead
        new = [] if lines is None else [unescape(line) for line in lines.split("<|+|>")]
        if blanks:
            forgiven.append("blanks after a mark")
        if after is None:
            edits.append(Edit.replace(int(number), int(to or number), new))
        else:
            edits.append(Edit.insert(int(number), new))
    return "\n".join(apply_edits(previous.split("\n"), edits, forgiven))

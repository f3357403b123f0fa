"""The format `plain_edits`, for pretrained models: the lines that change, in plain text.

A feedback turn shows the program with numbered lines, in a fenced block:

    1|def f(n):
    2|    return n

A student's turn is a whole program in a ```python block, or edits in a block without a tag, their numbers
in ascending order and those of the program shown (the letters are those of sed):

    2|    return n + 1      line 2 becomes this line
    2,4|    x = 1           lines 2 to 4 become this line
    |    y = 2              and this one: it goes on with the line above
    2d                      line 2 goes; 2,4d: lines 2 to 4
    2a|    print(n)         a line comes after line 2 (0: before the first)
    same                    nothing changes

Every line of a block begins with a mark of its own, so nothing that a program holds can end the block or be
taken for a mark, and a turn begins and ends with a fence: templates that strip a turn take nothing away.
A line costs a tokenizer two tokens more than the code alone, and one more for each further digit.
"""

import re

from tutee_serializer.dialogs.changes import Edit, apply_edits, find_changes
from tutee_serializer.dialogs.fences import DIFF, PYTHON, UNTAGGED, read_block, write_block
from tutee_serializer.dialogs.markup import escape, unescape
from tutee_serializer.errors import TurnError

SAME = "same"
_EDITS = "edits"  # the kind of an untagged block that holds edits
_EDIT = re.compile(r"(\s*)([0-9]{1,6})(?:a\|(.*)|(?:,([0-9]{1,6}))?(?:d(\s*)|\|(.*)))")
_LINE = re.compile(rf"{_EDIT.pattern}|\|.*|{SAME}")
# Possessive, so that a long run of blanks takes no longer than it is.
_LIKE_EDIT = re.compile(rf"\s*+(?:[0-9]++\s*+(?:[,-]\s*+[0-9]++\s*+)?(?:d\s*+|[a-z]?\s*+\|.*)|{SAME}\s*+)")


def write_numbered(program: str) -> str:
    """The program with numbered lines, as a feedback turn shows it."""
    lines = escape(program).split("\n")
    return write_block("", "\n".join(f"{number}|{line}" for number, line in enumerate(lines, 1)))


def write_plain_edits(previous: str | None, program: str) -> str:
    """The turn that hands in `program` after `previous` (None: the first attempt), by the shorter way."""
    text = escape(program)
    whole = write_block(PYTHON, text)
    if previous is None:
        return whole
    if previous == program:
        return write_block("", SAME)
    old, new = escape(previous).split("\n"), text.split("\n")
    lines = []
    for a, b, c, d in find_changes(old, new):
        place = f"{a}a" if a == b else f"{b}" if b == a + 1 else f"{a + 1},{b}"
        lines.append(f"{place}|" + "\n|".join(new[c:d]) if c < d else f"{place}d")
    edits = write_block("", "\n".join(lines))
    return edits if len(edits) < len(whole) else whole


def read_plain_edits(previous: str | None, content: str, forgiven: list[str]) -> str:
    """The program of a turn; what deviates from `write_plain_edits` is noted in `forgiven`.

    Raises TurnError where the turn holds no program.
    """
    bare = content.strip()
    if "```" not in bare and all(map(_LINE.fullmatch, bare.split("\n"))):
        forgiven.append("no fence")
        kind, body = _EDITS, bare
    else:
        kind, body = read_block(content, _kind, forgiven)
    if kind == DIFF:
        raise TurnError("a diff, but the format is edits")
    if kind in (PYTHON, UNTAGGED):
        return unescape(body)
    if previous is None:
        raise TurnError("no whole program, but there is no program before it to edit")
    text = body.strip("\n")
    if text != body:
        forgiven.append("blank lines around the edits")
    if text.strip() == SAME:
        return previous
    edits = _parse(text.split("\n"), forgiven)
    return "\n".join(apply_edits(previous.split("\n"), edits, forgiven))


def _kind(body: str) -> str:
    """Of an untagged block: edits, or a program whose tag is missing.

    Whatever looks like edits is none of the other, even where it is wrong in a detail.
    """
    return _EDITS if body.startswith("|") or any(map(_LIKE_EDIT.fullmatch, body.split("\n"))) else UNTAGGED


def _parse(lines: list[str], forgiven: list[str]) -> list[Edit]:
    edits: list[Edit] = []
    for line in lines:
        edit = _EDIT.fullmatch(line)
        if edit is None:
            if not (line.startswith("|") and edits and edits[-1].lines):
                raise TurnError(f"no edit: {line[:40]!r}")
            edits[-1].lines.append(unescape(line[1:]))
            continue
        blanks, number, after, to, blanks_behind, instead = edit.groups()
        if blanks or blanks_behind:
            forgiven.append("blanks around a mark")
        if after is not None:
            edits.append(Edit.insert(int(number), [unescape(after)]))
        else:
            new = [] if instead is None else [unescape(instead)]
            edits.append(Edit.replace(int(number), int(to or number), new))
    return edits

"""Fenced blocks of Markdown: writes one, and finds the one that counts in what a model wrote."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tutee_serializer.errors import TurnError

# Kinds of blocks, by the tag behind the opening fence. Blocks with other tags do not count.
PYTHON, DIFF, UNTAGGED = "python", "diff", ""
_KINDS = {
    **dict.fromkeys(("python", "python3", "py", "py3"), PYTHON),
    **dict.fromkeys(("diff", "patch"), DIFF),
    UNTAGGED: UNTAGGED,
}
_OPENING = re.compile(r"(`{3,}+)([ \t]*+)([^\s`]*+)([^`]*+)")
_NESTED = re.compile(r"\w[\w+#-]*\s*")


@dataclass
class _Block:
    """Lines `start` to `end` (exclusive) of a text, the fences included; `forgiven` says what is odd."""

    tag: str
    body: str
    start: int
    end: int
    closed: bool = True
    forgiven: list[str] = field(default_factory=list)


def write_block(tag: str, body: str) -> str:
    """`body` in a fence that is longer than all in it."""
    longest = max(map(len, re.findall("`+", body)), default=0) if "`" in body else 0
    fence = "`" * max(3, longest + 1)
    return f"{fence}{tag}\n{body}\n{fence}"


def read_block(text: str, kind_of: Callable[[str], str], forgiven: list[str]) -> tuple[str, str]:
    """The kind and the body of the block that counts: the last complete one.

    `kind_of` gives the kind of an untagged block from its body: UNTAGGED where the format knows no such
    block, which then counts only if there is no other. What had to be forgiven is added to `forgiven`:
    several blocks, text or blanks around the block, other tags and fences, and no closing fence where no
    block has one. Raises TurnError where no block counts.
    """
    lines = text.split("\n")
    blocks = _blocks(lines)
    if not blocks:
        raise TurnError("no code block")
    kinds = [_KINDS[block.tag.lower()] or kind_of(block.body) for block in blocks]
    numbers = range(len(blocks))
    closed = [number for number in numbers if blocks[number].closed]
    chosen = ([number for number in closed if kinds[number]] or closed or numbers)[-1]
    block, kind = blocks[chosen], kinds[chosen]
    around = [*lines[: block.start], *lines[block.end :]]
    if not block.closed and not block.body.strip():
        raise TurnError("the code block is empty and not closed")
    if not block.closed and kind == UNTAGGED and "".join(around).strip():
        raise TurnError("the code block is not closed, and has no tag")
    if len(blocks) > 1:
        forgiven.append("several blocks")
    elif around:
        forgiven.append("text around the block" if "".join(around).strip() else "blanks around the turn")
    if kind == UNTAGGED or (kind == DIFF and not block.tag):
        forgiven.append("no language tag")
    elif block.tag not in (kind, UNTAGGED):
        forgiven.append("another language tag")
    forgiven += block.forgiven
    return kind, block.body


def _blocks(lines: list[str]) -> list[_Block]:
    """The blocks that may hold a turn, in order; only the last one may be open."""
    found: list[_Block] = []
    closings: set[int] = set()  # of other blocks, which may hold such blocks in shorter fences
    at = 0
    while at < len(lines):
        opening = _OPENING.fullmatch(lines[at])
        if opening is None or at in closings:
            at += 1
            continue
        block = _block(lines, at, opening)
        if block.tag.lower() in _KINDS:
            found.append(block)
            at = block.end
        else:
            at += 1
            if block.closed:
                closings.add(block.end - 1)
    return found


def _block(lines: list[str], start: int, opening: re.Match[str]) -> _Block:
    fence, before, tag, after = opening.groups()
    forgiven = []
    windows = lines[start].endswith("\r")
    if windows:
        forgiven.append("Windows line ends")
        after = after.removesuffix("\r")
    if after.strip():
        forgiven.append("text after a fence")
    elif before or after:
        forgiven.append("blanks after a fence")
    body: list[str] = []
    for at in range(start + 1, len(lines)):
        line = lines[at].removesuffix("\r") if windows else lines[at]
        if line.startswith(fence):
            rest = line.lstrip("`")
            if _NESTED.fullmatch(rest):
                if tag.lower() in _KINDS:
                    raise TurnError("a code block begins inside another one")
                return _Block(tag, "", start, at, closed=False)
            if rest.strip():
                forgiven.append("text after a fence")
            elif line != fence:
                forgiven.append("blanks after a fence" if rest else "a longer closing fence")
            return _Block(tag, "\n".join(body), start, at + 1, True, forgiven)
        body.append(line)
    return _open_block(tag, body, fence, start, len(lines), forgiven)


def _open_block(tag: str, body: list[str], fence: str, start: int, end: int, forgiven: list[str]) -> _Block:
    """A block without a line that closes it."""
    if body and not body[-1]:
        body = body[:-1]
    last = body[-1].rstrip() if body else ""
    if last.endswith(fence):  # a program with such a line would have a longer fence
        forgiven.append("a fence behind the last line")
        return _Block(tag, "\n".join([*body[:-1], last.rstrip("`")]), start, end, True, forgiven)
    forgiven.append("no closing fence")
    return _Block(tag, "\n".join(body), start, end, False, forgiven)

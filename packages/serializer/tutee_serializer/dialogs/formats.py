"""How a program becomes a turn of a dialog, and a turn a program again.

Three formats. `code`: each student turn is the whole program in a fenced block. `dual`: a unified
diff instead, when it has one hunk and changes less than half of the lines (Koutcheme et al.,
arXiv 2604.10720). `edits`, for models too small to copy well: the feedback turn shows the program
with numbered lines, and the student's turn names the lines that change.

What `edits` looks like, each `<|..|>` being one token of a tokenizer that holds `markers(format)`:

    <|1|>def f(n):<|2|>    return n         a program in a feedback turn, two lines
    <|+|>def f(n):<|+|>    return n         a whole program in a student's turn
    <|2|>    return n + 1                   line 2 becomes this line
    <|2|><|to|><|4|>    x = 1<|+|>    y     lines 2 to 4 become these two
    <|2|><|-|>                              line 2 goes
    <|2|><|after|>    print(n)              a line comes after line 2 (0: before the first)
    <|same|>                                nothing changes

Lines are what newlines separate, so a final newline is an empty last line and every
program comes back exactly. No turn begins with a blank: chat templates merge leading blanks with
the header's newline. Whatever could be taken for a chat template's markup is escaped by one more
backslash (`<|im_end|>` as `<\\|im_end|>`), in every format and every turn.
"""

import re
from difflib import SequenceMatcher
from enum import StrEnum
from itertools import pairwise

from tutee_grader.errors import TuteeError

Message = dict[str, str]  # role, content


class Format(StrEnum):
    """How a student's program is written in a turn."""

    CODE = "code"
    DUAL = "dual"
    EDITS = "edits"


class TurnError(TuteeError):
    """A student's turn that holds no program; the message is the reason."""


NUMBERED = 100  # line numbers 0 to 99 are one token each; further ones are spelled out
# Pairs of lines that are compared to find a small change; the time grows with their number to the power 1.5.
COMPARED = 250_000
TASK = "Task:\n"  # how each task turn begins, and no other turn

_NOVICE = (
    "You are a student in your first programming course. You solve tasks in Python, step by step, "
    "and make a beginner's mistakes. Answer with your whole program in a ```python block"
)
_SYSTEM = {
    Format.CODE: f"{_NOVICE}.",
    Format.DUAL: f"{_NOVICE} or, when little changes, with a unified diff in a ```diff block.",
    Format.EDITS: "You are a novice. Edit your program.",
}
_ASK = "Hand in your next attempt."

_MARKUP = re.compile(r"<(?=\\*(?:\||/?think>|/?tool_call>|/?tool_response>))")
_ESCAPED = re.compile(r"<\\(?=\\*(?:\||/?think>|/?tool_call>|/?tool_response>))")
_TEXT = r"[^<]*(?:<(?!\|)[^<]*)*"
_LINES = rf"{_TEXT}(?:<\|\+\|>{_TEXT})*"
_WHOLE = re.compile(rf"\s*<\|\+\|>({_LINES})")
_EDIT = re.compile(
    rf"<\|([0-9]{{1,6}})\|>(?:<\|to\|><\|([0-9]{{1,6}})\|>)?(?:(<\|-\|>)|(<\|after\|>)?({_LINES}))"
)
_BLOCK = re.compile(r"^(`{3,})(python|py|diff|)[ \t]*\n", re.MULTILINE | re.IGNORECASE)
_HUNK = re.compile(r"@@ -([0-9]{1,6})(?:,([0-9]{1,6}))? \+[0-9]{1,6}(?:,[0-9]{1,6})? @@.*")


def markers(format: Format | str) -> tuple[str, ...]:
    """The strings that a small tokenizer should hold as single, not special, tokens."""
    if Format(format) is not Format.EDITS:
        return ()
    return ("<|+|>", "<|-|>", "<|to|>", "<|after|>", "<|same|>", *(f"<|{n}|>" for n in range(NUMBERED)))


def system_turn(format: Format | str) -> str:
    """Who the student is, and how they hand in a program."""
    return _SYSTEM[Format(format)]


def task_turn(format: Format | str, task: str) -> str:
    """The user's turn that opens an assignment."""
    return TASK + escape(task.strip())


def feedback_turn(format: Format | str, feedback: str, program: str) -> str:
    """The user's turn after `program`; `feedback` may be empty (PARA)."""
    text = escape(feedback.strip())
    if text.startswith(TASK.strip()):
        text = "Feedback: " + text
    if Format(format) is Format.EDITS:
        numbered = "".join(f"<|{n}|>{line}" for n, line in enumerate(escape(program).split("\n"), 1))
        return f"{text}\n{numbered}" if text else numbered
    return text or _ASK


def write_turn(format: Format | str, previous: str | None, program: str) -> str:
    """The student's turn that hands in `program` after `previous` (None: the first attempt)."""
    format = Format(format)
    if format is Format.EDITS:
        return _write_edits(previous, program)
    if format is Format.DUAL and previous is not None:
        diff = _diff(previous.split("\n"), program.split("\n"))
        if diff is not None:
            return _fence("diff", escape(diff))
    return _fence("python", escape(program))


def read_turn(format: Format | str, previous: str | None, content: str) -> str:
    """The program that a student's turn hands in after `previous`.

    The inverse of `write_turn`, for every pair of programs. Raises TurnError with the reason on
    any text that holds no program.
    """
    format = Format(format)
    if format is Format.EDITS:
        return _read_edits(previous, content)
    opening = _BLOCK.search(content)
    if opening is None:
        raise TurnError("no code block")
    body = content[opening.end() :]
    closing = re.search(rf"^{opening[1]}[ \t]*$", body, re.MULTILINE)
    if closing is None:
        raise TurnError("the code block is not closed")
    text = _unescape(body[: max(closing.start() - 1, 0)])
    if opening[2].lower() == "diff":
        if previous is None:
            raise TurnError("a diff, but there is no program before it")
        if format is not Format.DUAL:
            raise TurnError("a diff, but the format is whole programs")
        return _patch(previous.split("\n"), text)
    return text


def escape(text: str) -> str:
    """`text` without anything that a chat template or a format takes for markup."""
    # To search first is three times as fast: most programs hold a "<", and hardly any holds markup.
    return _MARKUP.sub(r"<\\", text) if "<" in text and _MARKUP.search(text) else text


def _unescape(text: str) -> str:
    return _ESCAPED.sub("<", text)


def _fence(language: str, body: str) -> str:
    longest = max(map(len, re.findall("`+", body)), default=0) if "`" in body else 0
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{body}\n{fence}"


def _changes(old: list[str], new: list[str]) -> list[tuple[int, int, int, int]]:
    """The ranges that differ: old[a:b] becomes new[c:d]. Few and small, in ascending order.

    Where both programs have very many lines between the first and the last that differ, that is one range.
    """
    start, end = 0, 0
    shorter = min(len(old), len(new))
    while start < shorter and old[start] == new[start]:
        start += 1
    while end < shorter - start and old[-1 - end] == new[-1 - end]:
        end += 1
    a, b, c, d = start, len(old) - end, start, len(new) - end
    if a == b and c == d:
        return []
    if a == b or c == d or b - a == d - c == 1 or (b - a) * (d - c) > COMPARED:
        return [(a, b, c, d)]
    matcher = SequenceMatcher(None, old[a:b], new[c:d], autojunk=False)
    return [(a + i, a + j, c + k, c + m) for tag, i, j, k, m in matcher.get_opcodes() if tag != "equal"]


def _write_edits(previous: str | None, program: str) -> str:
    new = escape(program).split("\n")
    if previous is None:
        return "<|+|>" + "<|+|>".join(new)
    old = escape(previous).split("\n")
    changes = _changes(old, new)
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


def _read_edits(previous: str | None, content: str) -> str:
    whole = _WHOLE.fullmatch(content)
    if whole is not None:
        return "\n".join(map(_unescape, whole[1].split("<|+|>")))
    if previous is None:
        raise TurnError("no whole program, but there is no program before it to edit")
    content = content.lstrip()
    if content == "<|same|>":
        return previous
    old = previous.split("\n")
    new: list[str] = []
    done = at = 0  # lines of the old program behind us; characters read
    while at < len(content):
        edit = _EDIT.match(content, at)
        if edit is None:
            raise TurnError(f"no edit at character {at}: {content[at : at + 20]!r}")
        at = edit.end()
        start, stop = int(edit[1]), int(edit[2] or edit[1])
        if edit[4]:  # after
            start += 1
        if (not edit[4] and start == 0) or stop > len(old):
            raise TurnError(f"line {stop if start else 0} is not one of the program's {len(old)}")
        if start <= done or stop < start - bool(edit[4]):
            raise TurnError(f"line {edit[1]} comes out of order")
        new += old[done : start - 1]
        if not edit[3]:
            new += map(_unescape, edit[5].split("<|+|>"))
        done = stop
    if at == 0:
        raise TurnError("an empty turn")
    return "\n".join(new + old[done:])


def _diff(old: list[str], new: list[str]) -> str | None:
    """A unified diff; None unless it has one hunk and changes less than half of the lines."""
    changes = _changes(old, new)
    context = 3
    if not changes or any(b[0] - a[1] > 2 * context for a, b in pairwise(changes)):
        return None
    removed = sum(b - a for a, b, _, _ in changes)
    added = sum(d - c for _, _, c, d in changes)
    if 2 * max(removed, added) >= len(old):
        return None
    first, last = max(changes[0][0] - context, 0), min(changes[-1][1] + context, len(old))
    body, at = [], first
    for a, b, c, d in changes:
        body += [" " + line for line in old[at:a]]
        body += ["-" + line for line in old[a:b]]
        body += ["+" + line for line in new[c:d]]
        at = b
    body += [" " + line for line in old[at:last]]
    size = last - first
    return "\n".join([f"@@ -{first + 1},{size} +{first + 1},{size - removed + added} @@", *body])


def _patch(old: list[str], diff: str) -> str:
    new: list[str] = []
    done = 0
    hunk = False
    for line in diff.split("\n"):
        header = _HUNK.fullmatch(line)
        if header is not None:
            start = max(int(header[1]) - 1, 0) if header[2] != "0" else int(header[1])
            if not done <= start <= len(old):
                raise TurnError(f"the hunk {line!r} does not fit the program's {len(old)} lines")
            new += old[done:start]
            done, hunk = start, True
        elif not hunk:
            if not line.startswith(("--- ", "+++ ")):
                raise TurnError(f"no hunk before {line[:40]!r}")
        elif line.startswith("+"):
            new.append(line[1:])
        elif line.startswith(("-", " ")) or line == "":
            if done >= len(old) or old[done] != line[1:]:
                raise TurnError(f"the diff does not fit line {done + 1} of the program")
            if not line.startswith("-"):
                new.append(old[done])
            done += 1
        elif not line.startswith("\\ No newline"):
            raise TurnError(f"neither context nor change: {line[:40]!r}")
    if not hunk:
        raise TurnError("a diff without a hunk")
    return "\n".join(new + old[done:])

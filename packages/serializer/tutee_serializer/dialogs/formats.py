"""How a program becomes a turn of a dialog, and a turn a program again.

Four formats. `code`: each student turn is the whole program in a fenced block. `dual`: a unified diff
instead, when it has one hunk and changes less than half of the lines (Koutcheme et al., arXiv 2604.10720).
`edits` and `plain_edits`: the feedback turn shows the program with numbered lines, and the student's turn
names the lines that change; in marks that are tokens of a tiny model's own tokenizer, or in plain text.

No turn begins with a blank: chat templates merge leading blanks with the header's newline. Whatever could
be taken for a chat template's markup is escaped, in every format and every turn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from tutee_serializer.dialogs import edits, plain_edits
from tutee_serializer.dialogs.diffs import apply_diff, write_diff
from tutee_serializer.dialogs.fences import DIFF, PYTHON, UNTAGGED, read_block, write_block
from tutee_serializer.dialogs.markup import escape, unescape
from tutee_serializer.errors import TurnError

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment

Message = dict[str, str]  # role, content


class Format(StrEnum):
    """How a student's program is written in a turn."""

    CODE = "code"
    DUAL = "dual"
    EDITS = "edits"
    PLAIN_EDITS = "plain_edits"

    @property
    def shows_program(self) -> bool:
        """Whether feedback turns show the program that they are about."""
        return self in (Format.EDITS, Format.PLAIN_EDITS)


@dataclass(frozen=True)
class Reading:
    """The program in a turn. `repair` names what the reader had to forgive, separated by commas; None: the
    turn is exactly as the format says."""

    program: str
    repair: str | None = None


# The format of a learner's turns, who answers a teacher in words: they hold no program that could be read.
WORDS = "words"
TASK = "Task:\n"  # how each task turn begins, and no other turn

_NOVICE = (
    "You are a student in your first programming course. You solve tasks in Python, step by step, "
    "and make a beginner's mistakes. Answer with your whole program in a ```python block"
)
_SYSTEM = {
    Format.CODE: f"{_NOVICE}.",
    Format.DUAL: f"{_NOVICE} or, when little changes, with a unified diff in a ```diff block.",
    Format.EDITS: "You are a novice. Edit your program.",
    Format.PLAIN_EDITS: (
        f"{_NOVICE} or, when little changes, with edits of its numbered lines in a ``` block: `3|code` "
        "replaces line 3, `3,5|code` lines 3 to 5, `|code` goes on with one more line, `3a|code` comes "
        "after line 3, `3d` deletes it."
    ),
}
_ASK = "Hand in your next attempt."


def markers(format: Format | str) -> tuple[str, ...]:
    """The strings that a small tokenizer should hold as single, not special, tokens."""
    return edits.MARKERS if Format(format) is Format.EDITS else ()


def system_turn(format: Format | str) -> str:
    """Who the student is, and how they hand in a program."""
    return _SYSTEM[Format(format)]


def task_turn(format: Format | str, task: str) -> str:
    """The user's turn that opens an assignment."""
    return TASK + escape(task.strip())


def assignments_by_turn(format: Format | str, assignments: "Mapping[str, Assignment]") -> dict[str, str]:
    """The name of the assignment that each task's turn opens."""
    return {task_turn(format, assignment.task): name for name, assignment in assignments.items()}


def feedback_turn(format: Format | str, feedback: str, program: str) -> str:
    """The user's turn after `program`; `feedback` may be empty (PARA)."""
    format = Format(format)
    text = escape(feedback.strip())
    if text.startswith(TASK.strip()):
        text = "Feedback: " + text
    if not format.shows_program:
        return text or _ASK
    numbered = (edits if format is Format.EDITS else plain_edits).write_numbered(program)
    return f"{text}\n{numbered}" if text else numbered


def write_turn(format: Format | str, previous: str | None, program: str) -> str:
    """The student's turn that hands in `program` after `previous` (None: the first attempt)."""
    format = Format(format)
    if format is Format.EDITS:
        return edits.write_edits(previous, program)
    if format is Format.PLAIN_EDITS:
        return plain_edits.write_plain_edits(previous, program)
    if format is Format.DUAL and previous is not None:
        diff = write_diff(previous.split("\n"), program.split("\n"))
        if diff is not None:
            return write_block(DIFF, escape(diff))
    return write_block(PYTHON, escape(program))


def read_turn(format: Format | str, previous: str | None, content: str) -> str:
    """The program that a student's turn hands in after `previous`, as `read_reply` reads it."""
    return read_reply(format, previous, content).program


def read_reply(format: Format | str, previous: str | None, content: str) -> Reading:
    """The program that a student's turn hands in after `previous`, and what had to be forgiven for it.

    The inverse of `write_turn`, for every pair of programs, without a repair. What a model thinks before its
    turn is dropped. Raises TurnError with the reason on any text that holds no program, or may mean two.
    """
    format = Format(format)
    forgiven: list[str] = []
    text = _without_thought(content, forgiven)
    if format is Format.EDITS:
        program = edits.read_edits(previous, text, forgiven)
    elif format is Format.PLAIN_EDITS:
        program = plain_edits.read_plain_edits(previous, text, forgiven)
    else:
        program = _read_block(format, previous, text, forgiven)
    return Reading(program, ", ".join(dict.fromkeys(forgiven)) or None)


def _without_thought(content: str, forgiven: list[str]) -> str:
    """The turn without the thought and the blanks before it; an empty thought is nothing to forgive."""
    thought, end, turn = content.rpartition("</think>")
    if "<think>" in turn:
        raise TurnError("a thought without an end")
    if thought.strip().removeprefix("<think>").strip():
        forgiven.append("a thought before the turn")
    text = turn.lstrip()
    if text != turn and not end:
        forgiven.append("blanks around the turn")
    return text


def _read_block(format: Format, previous: str | None, text: str, forgiven: list[str]) -> str:
    def kind(body: str) -> str:
        return DIFF if format is Format.DUAL and body.lstrip().startswith(("@@", "--- ")) else UNTAGGED

    found, body = read_block(text, kind, forgiven)
    if found != DIFF:
        return unescape(body)
    if previous is None:
        raise TurnError("a diff, but there is no program before it")
    if format is not Format.DUAL:
        raise TurnError("a diff, but the format is whole programs")
    return "\n".join(apply_diff(previous.split("\n"), unescape(body), forgiven))

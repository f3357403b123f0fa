"""Synthetic dialogs for the tiny base to practise on, all from programs of the training students."""

import builtins
import keyword
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

from tutee_serializer.dialogs.formats import feedback_turn, write_turn
from tutee_trainer.conversations import Conversation, Message

NEIGHBOURS = 12  # better programs that are looked at, of which the nearest is the next attempt
TURNS = 2  # edits in one synthetic dialog


@dataclass(frozen=True)
class Attempt:
    """A real program, its grade, and the user's turn that answered it (None where the work ended)."""

    program: str
    grade: float
    answer: str | None


# What a novice's program binds: targets of =, loops and with, parameters.
_BINDINGS = re.compile(r"\b([A-Za-z_]\w*)\s*(?:[-+*/%]|//|\*\*)?=(?!=)|\b(?:for|as)\s+([A-Za-z_]\w*)\b")
_PARAMETERS = re.compile(r"\bdef\s+\w+\s*\(([^()\n]*)\)")
_WORD = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_QUOTED = re.compile(r"(?<=')[A-Za-z_]\w*(?=')")
_KEPT = frozenset(keyword.kwlist) | frozenset(dir(builtins)) | {"self"}


def bound_names(code: str) -> set[str]:
    """The variables and parameters of a program, read loosely: half of novices' programs do not parse."""
    names = {name for pair in _BINDINGS.findall(code) for name in pair if name}
    for parameters in _PARAMETERS.findall(code):
        names |= {part.split("=")[0].split(":")[0].strip(" *") for part in parameters.split(",")}
    return {name for name in names if name.isidentifier()} - _KEPT


def rename(messages: Sequence[Message], names: Mapping[str, str]) -> list[Message]:
    """The dialog with other variable names: in programs, and where the feedback quotes them."""

    def other(match: re.Match[str]) -> str:
        return names.get(match[0], match[0])

    renamed = list(messages[:1])
    for message in messages[1:]:
        content = message["content"]
        start = 0 if message["role"] == "assistant" else content.find("<|1|>")
        if start >= 0:
            said, code = _QUOTED.sub(other, content[:start]), _WORD.sub(other, content[start:])
            message = {**message, "content": said + code}
        renamed.append(message)
    return renamed


class Practice:
    """Synthetic dialogs: one student's program and what was said of it, then another student's as the next.

    The next is the nearest, line by line, of a few programs with a better grade; where there is none, the
    program is first broken in one line, without a word from the grader, and the edit mends it. So a small
    model sees many more edits than the students made.
    """

    def __init__(self, dialogs: Sequence[Conversation], seed: int) -> None:
        self._random = random.Random(seed)
        self._format = dialogs[0].format
        self._system = dialogs[0].messages[0]
        self._attempts: dict[str, list[Attempt]] = defaultdict(list)
        for dialog in dialogs:
            turns = list(dialog.turns())
            for turn, following in zip_longest(turns, turns[1:]):
                # Only what answers work that goes on shows the program; the last word on a task does not.
                goes_on = following is not None and following.task == turn.task
                answer = dialog.messages[turn.index + 1]["content"] if goes_on else None
                attempt = Attempt(turn.program, turn.grade, answer)
                self._attempts[dialog.messages[turn.task]["content"]].append(attempt)
        programs = {attempt.program for attempts in self._attempts.values() for attempt in attempts}
        self._names = sorted(set().union(*(bound_names(program) for program in programs)))
        self._tasks = [task for task, attempts in self._attempts.items() for _ in attempts]

    def __iter__(self) -> Iterator[list[Message]]:
        """Dialogs without end: system, task with the program at hand, and `TURNS` edits."""
        while True:
            task = self._random.choice(self._tasks)
            attempts = self._attempts[task]
            now = self._random.choice(attempts)
            messages = [self._system]
            opening = f"{task}\n\n"
            for _ in range(TURNS):
                later = self._better(now, attempts)
                if later is None:
                    later, now = now, Attempt(self._broken(now.program), 0.0, None)
                shown = now.answer or feedback_turn(self._format, "", now.program)
                messages.append({"role": "user", "content": opening + shown})
                written = write_turn(self._format, now.program, later.program)
                messages.append({"role": "assistant", "content": written})
                now, opening = later, ""
            yield messages

    def renamed(self, messages: Sequence[Message]) -> list[Message]:
        """The dialog as a student with other habits might have had it: variables bear names of others.

        A small model learns so to copy names from the program at hand, rather than to guess them.
        """
        written = "\n".join(message["content"] for message in messages[2:])
        old = sorted(bound_names(written.replace("<|", "\n<|")))
        new = self._random.sample(self._names, min(len(old), len(self._names)))
        return rename(messages, dict(zip(old, new, strict=False)))

    def _better(self, now: Attempt, attempts: list[Attempt]) -> Attempt | None:
        drawn = self._random.sample(attempts, min(NEIGHBOURS, len(attempts)))
        better = [attempt for attempt in drawn if attempt.grade > now.grade]
        lines = now.program.split("\n")
        return max(
            better,
            key=lambda attempt: SequenceMatcher(
                None, lines, attempt.program.split("\n"), autojunk=False
            ).ratio(),
            default=None,
        )

    def _broken(self, program: str) -> str:
        """The program with one line dropped, doubled, moved, or put in place of another."""
        lines = program.split("\n")
        at, other = (self._random.randrange(len(lines)) for _ in range(2))
        match self._random.randrange(4):
            case 0 if len(lines) > 1:
                del lines[at]
            case 1:
                lines.insert(at, lines[at])
            case 2:
                lines[at], lines[other] = lines[other], lines[at]
            case _:
                lines[at] = lines[other]
        return "\n".join(lines)

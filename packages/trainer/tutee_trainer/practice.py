"""Made-up dialogs for the tiny base to practise on, all from programs of the training students."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

from tutee_serializer.formats import feedback_turn, write_turn
from tutee_trainer.conversations import Conversation, Message

NEIGHBOURS = 12  # better programs that are looked at, of which the nearest is the next attempt
TURNS = 2  # edits in one made-up dialog


@dataclass(frozen=True)
class Attempt:
    """A real program, its grade, and the user's turn that answered it (None where the work ended)."""

    program: str
    grade: float
    answer: str | None


class Practice:
    """Made-up dialogs: one student's program and what was said of it, then another student's as the next.

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

"""One dialog of a learner and the grader, as training, rollouts and the service use it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import polars as pl

from tutee_grader.errors import InputError
from tutee_grader.feedback import Level
from tutee_grader.files import read_table
from tutee_grader.verdict import Verdict
from tutee_serializer.dialogs.canaries import CANARY
from tutee_serializer.dialogs.formats import (
    TASK,
    Message,
    feedback_turn,
    read_turn,
    system_turn,
    task_turn,
    write_turn,
)
from tutee_serializer.dialogs.levels import Feedback, words
from tutee_serializer.dialogs.markup import escape
from tutee_serializer.dialogs.truncation import truncate
from tutee_serializer.schemas import DIALOGS


@dataclass(frozen=True)
class Turn:
    """One of the student's turns: `messages[:index]` precede it, `messages[task]` is its task.

    `previous` is the program that it edits (None: the first on this task); `grade` is 0 to 100.
    """

    index: int
    task: int
    previous: str | None
    program: str
    grade: float
    submission_id: str


@dataclass
class Dialog:
    """A dialog, untruncated: system turn, task, then in turn the student's programs and the feedback.

    `format` says how programs are written, `feedback` is the grader's level of detail; where that differs
    from student to student, `level` is this one's. `grades` (0 to 100)
    and `submission_ids` belong to the student's turns, in order, as far as they are known.
    """

    format: str
    feedback: Feedback
    messages: list[Message]
    dialog_id: str = ""
    grades: tuple[float, ...] = ()
    submission_ids: tuple[str, ...] = ()
    level: Level | None = None

    @classmethod
    def start(cls, format: str, feedback: Feedback, task: str, system: str | None = None) -> Self:
        """A dialog that ends with the task. `system` replaces the system turn that students train with."""
        opening = system_turn(format) if system is None else escape(system)
        messages = [
            {"role": "system", "content": opening},
            {"role": "user", "content": task_turn(format, task)},
        ]
        return cls(format, feedback, messages)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The dialog in a row of DIALOGS."""
        return cls(
            row["format"],
            row["feedback"],
            list(row["messages"]),
            row["dialog_id"],
            tuple(turn["grade"] for turn in row["turns"]),
            tuple(turn["submission_id"] for turn in row["turns"]),
            row["level"],
        )

    @cached_property
    def previous(self) -> str | None:
        """The student's last program on the present task, which the next turn edits; None: there is none."""
        last = None
        for message in self.messages:
            if opens_task(message):
                last = None
            elif message["role"] == "assistant":
                last = read_turn(self.format, last, message["content"])
        return last

    @property
    def task(self) -> str:
        """The task turn of the present task."""
        return next(message["content"] for message in reversed(self.messages) if opens_task(message))

    def turns(self) -> Iterator[Turn]:
        """The student's turns in order, with whole programs."""
        previous: str | None = None
        task = number = 0
        for index, message in enumerate(self.messages):
            if opens_task(message):
                previous, task = None, index
            elif message["role"] == "assistant":
                program = read_turn(self.format, previous, message["content"])
                yield Turn(index, task, previous, program, self.grades[number], self.submission_ids[number])
                previous, number = program, number + 1

    def before(self, number: int) -> Self:
        """A new dialog that ends where the student's turn `number`, counted from 1, would come."""
        places = [at for at, message in enumerate(self.messages) if message["role"] == "assistant"]
        written = number - 1
        return replace(
            self,
            messages=self.messages[: places[written]],
            grades=self.grades[:written],
            submission_ids=self.submission_ids[:written],
        )

    def alone(self) -> Self:
        """A new dialog without the student's work on earlier assignments: it begins with the present task."""
        opening = max(place for place, message in enumerate(self.messages) if opens_task(message))
        earlier = sum(message["role"] == "assistant" for message in self.messages[:opening])
        return replace(
            self,
            messages=[self.messages[0], *self.messages[opening:]],
            grades=self.grades[earlier:],
            submission_ids=self.submission_ids[earlier:],
        )

    def after(self, other: Self) -> Self:
        """A new dialog of the work on the present task, after `other`'s up to where it comes to that task.

        `other` is of the same format and ends with the task that `self` is at. Earlier work of `self` is not
        in it.
        """
        alone = self.alone()
        return replace(
            self,
            messages=[*other.messages[:-1], *alone.messages[1:]],
            grades=other.grades + alone.grades,
            submission_ids=other.submission_ids + alone.submission_ids,
        )

    def words(self, verdict: Verdict) -> str:
        """What the student is told by the grader."""
        return words(verdict, self.level or self.feedback)

    def append(self, program: str, verdict: Verdict | str) -> None:
        """Adds the student's next program and the feedback on it: a verdict's, or any text."""
        said = verdict if isinstance(verdict, str) else self.words(verdict)
        if isinstance(verdict, Verdict):
            self.grades += (verdict.grade,)
        turn = write_turn(self.format, self.previous, program)
        self.messages.append({"role": "assistant", "content": turn})
        self.messages.append({"role": "user", "content": feedback_turn(self.format, said, program)})
        self.previous = program

    def truncated(self, budget: int, count: Callable[[str], int]) -> list[Message]:
        """The messages cut to `budget` tokens as `truncate` cuts; `count` is a TokenCounter."""
        return truncate(self.messages, budget, count)

    def pieces(self, budget: int, count: Callable[[str], int]) -> Iterator[list[Message]]:
        """The messages in pieces of at most `budget` tokens, each student's turn in exactly one of them.

        Every piece has system, task, and the turns that `truncate` keeps; a turn too long is left out.
        """
        messages = list(self.messages)
        while True:
            kept = truncate(messages, budget, count)
            if sum(count(message["content"]) for message in kept) <= budget:
                yield kept
            written = sum(message["role"] == "assistant" for message in kept)
            places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
            if written == len(places):
                return
            messages = messages[: places[-written - 1] + 1]


def opens_task(message: Message) -> bool:
    """Whether a turn is a task, which opens work on an assignment."""
    return message["role"] == "user" and message["content"].startswith(TASK)


def contents(dialogs: Iterable[Dialog]) -> Iterator[str]:
    """The text of every turn."""
    return (message["content"] for dialog in dialogs for message in dialog.messages)


def read_dialogs(
    path: Path, format: str, feedback: Feedback, split: str, required: bool = True
) -> list[Dialog]:
    """The dialogs of a DIALOGS table that have this format, feedback level and split.

    With those of split `train` come the canaries: a model learns from both. Raises InputError where the table
    is missing, holds another format, or none of them, if `required`.
    """
    splits = (split, CANARY) if split == "train" else (split,)
    table = read_table(path, DIALOGS, "serialize").filter(pl.col("split").is_in(splits), feedback=feedback)
    formats = table["format"].unique().to_list()
    if formats != [format] and (formats or required):
        found = f"format {', '.join(formats)}" if formats else "none"
        raise InputError(
            f"{path}: expected {split} dialogs of format {format} and feedback {feedback}, found {found}; "
            "run `tutee serialize` with the same preset, or bring a longer log"
        )
    return [Dialog.from_row(row) for row in table.iter_rows(named=True)]

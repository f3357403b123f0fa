"""Dialogs as training reads them: messages, and the programs inside the student's turns."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tutee_grader.errors import InputError
from tutee_serializer.dialogs.formats import TASK, read_turn
from tutee_serializer.dialogs.tokens import count_tokens
from tutee_serializer.dialogs.truncation import truncate

Message = dict[str, str]  # role, content


@dataclass(frozen=True)
class Turn:
    """One student's turn: `messages[:index]` came before it, `task` is the index of its task's message.

    `previous` is the program it edits (None: the first on this task), `grade` 0 to 100.
    """

    index: int
    task: int
    previous: str | None
    program: str
    grade: float
    submission_id: str


@dataclass(frozen=True)
class Conversation:
    """One dialog, untruncated. `messages` begin with system and task and end with a student's turn."""

    dialog_id: str
    format: str
    messages: tuple[Message, ...]
    grades: tuple[float, ...]
    submission_ids: tuple[str, ...]

    def turns(self) -> Iterator[Turn]:
        """The student's turns in order, with the programs written out."""
        previous: str | None = None
        task = seen = 0
        for index, message in enumerate(self.messages):
            if message["role"] == "user" and message["content"].startswith(TASK):
                previous, task = None, index
            elif message["role"] == "assistant":
                program = read_turn(self.format, previous, message["content"])
                yield Turn(index, task, previous, program, self.grades[seen], self.submission_ids[seen])
                previous, seen = program, seen + 1


def read_dialogs(path: Path, format: str, feedback: str, split: str) -> list[Conversation]:
    """The conversations of a DIALOGS table that are of this format, feedback level and split.

    Raises InputError where the table is missing or holds none of them.
    """
    try:
        table = pl.scan_parquet(path).filter(split=split, feedback=feedback).collect()
    except FileNotFoundError:
        raise InputError(f"{path}: missing; run `tutee serialize` first") from None
    formats = table["format"].unique().to_list()
    if formats != [format]:
        found = f"format {', '.join(formats)}" if formats else "none"
        raise InputError(
            f"{path}: expected {split} dialogs of format {format} and feedback {feedback}, found {found}; "
            "run `tutee serialize` with the same preset, or bring a longer log"
        )
    return [
        Conversation(
            row["dialog_id"],
            row["format"],
            tuple(row["messages"]),
            tuple(turn["grade"] for turn in row["turns"]),
            tuple(turn["submission_id"] for turn in row["turns"]),
        )
        for row in table.iter_rows(named=True)
    ]


def counter(tokenizer: Any, dialogs: Iterable[Conversation] = ()) -> Callable[[str], int]:
    """Counts the tokens of a turn with this content, the chat template's markup included.

    Those of `dialogs` are counted now, all together; others when they are asked for.
    """
    markup = "<|im_start|>assistant\n<|im_end|>\n"
    contents = {message["content"] for dialog in dialogs for message in dialog.messages}
    texts = pl.Series([markup, *contents], dtype=pl.String)
    header, *sizes = count_tokens(tokenizer.backend_tokenizer, texts)
    counted = dict(zip(contents, sizes, strict=True))

    def count(content: str) -> int:
        if content not in counted:
            counted[content] = len(tokenizer.encode(content, add_special_tokens=False))
        return int(header + counted[content])

    return count


def pieces(conversation: Conversation, budget: int, count: Callable[[str], int]) -> Iterator[list[Message]]:
    """The conversation in pieces of at most `budget` tokens, each student's turn in exactly one of them.

    Every piece has system, task, and as many turns as fit, cut as `truncate` cuts; a turn that does not fit
    alone is left out.
    """
    messages = list(conversation.messages)
    while True:
        kept = truncate(messages, budget, count)
        if sum(count(message["content"]) for message in kept) <= budget:
            yield kept
        written = sum(message["role"] == "assistant" for message in kept)
        places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
        if written == len(places):
            return
        messages = messages[: places[-written - 1] + 1]

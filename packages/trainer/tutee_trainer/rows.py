"""Dialogs as rows of tokens and labels: what SFT trains on, and what every method is validated on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from tutee_serializer.dialogs.dialog import Dialog, contents, opens_task, read_dialogs
from tutee_serializer.dialogs.tokens import TokenCounter
from tutee_trainer.training import IGNORED, AdapterMethodConfig, TrainingJob, validation_sample

if TYPE_CHECKING:
    from tutee_serializer.dialogs.chat import Chat
    from tutee_serializer.dialogs.formats import Message
    from tutee_serializer.dialogs.levels import Feedback
    from tutee_trainer.preset import Preset


def tokenize(dialogs: Sequence[Dialog], chat: Chat, preset: Preset) -> list[dict[str, list[int]]]:
    """Pieces of dialogs as `input_ids` and `labels`, each of the student's turns in exactly one of them."""
    count = TokenCounter(chat, contents(dialogs))
    room = count.room(preset.dialog.max_length)
    rows = []
    for dialog in dialogs:
        tasks = {message["content"] for message in dialog.messages if opens_task(message)}
        for piece in dialog.pieces(room, count):
            ids, turns = chat.encode(piece)
            ignored = {0} if preset.dialog.first_is_target else {0, *_first_turns(piece, tasks)}
            labels = [IGNORED if turn in ignored else token for token, turn in zip(ids, turns, strict=True)]
            if any(label != IGNORED for label in labels):
                rows.append({"input_ids": ids, "labels": labels})
    return rows


def validation_rows(
    job: TrainingJob, config: AdapterMethodConfig, feedback: Feedback, chat: Chat
) -> list[dict[str, list[int]]]:
    """The rows of validation students that the log score is measured on.

    Equal seeds give equal rows, whatever the method. None where the preset asks for no evaluation.
    """
    if not config.evaluations:
        return []
    dialogs = read_dialogs(job.dialogs, job.preset.format, feedback, "validation")
    return validation_sample(tokenize(dialogs, chat, job.preset), config)


def _first_turns(piece: Sequence[Message], tasks: set[str]) -> Iterator[int]:
    """The numbers, from 1, of the student's turns that follow a task alone: the first ones on it.

    Where turns have been cut, the feedback on the last of them stands behind the task.
    """
    number = 0
    for before, message in pairwise(piece):
        if message["role"] == "assistant":
            number += 1
            if before["content"] in tasks:
                yield number

"""The examples that a tiny model trains on: token ids, and the weight of each token in the loss."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from tutee_grader.errors import InputError
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.dialog import Dialog, contents
from tutee_serializer.dialogs.formats import Message
from tutee_serializer.dialogs.tokens import TokenCounter
from tutee_trainer.tiny.renaming import Renaming

if TYPE_CHECKING:
    from tutee_trainer.methods.base import BaseConfig

Example = tuple[list[int], list[float]]  # token ids, and the weight of each in the loss


class Examples:
    """Turns dialogs into examples: the student's tokens weigh 1, the others `config.prompt_weight`.

    `dialogs` are those whose tokens are counted ahead; a piece of a dialog has at most `max_length` tokens.
    """

    def __init__(
        self,
        chat: Chat,
        config: BaseConfig,
        max_length: int,
        dialogs: Sequence[Dialog],
    ) -> None:
        self._chat, self._config = chat, config
        self._count = TokenCounter(chat, contents(dialogs))
        self._max_length, self._room = max_length, self._count.room(max_length)

    def of(self, dialogs: Sequence[Dialog]) -> list[Example]:
        """The examples of the dialogs, in order."""
        return [
            self._example(piece) for dialog in dialogs for piece in dialog.pieces(self._room, self._count)
        ]

    def stream(self, dialogs: Sequence[Dialog], silent: Sequence[Dialog]) -> Iterator[Example]:
        """Examples without end, the dialogs shuffled anew each epoch.

        `silent` are the same dialogs without feedback, which take the place of a share of them. Raises
        InputError where not one dialog fits.
        """
        chance = random.Random(self._config.seed)
        renaming = Renaming(dialogs, self._config.seed)
        pairs = list(zip(dialogs, silent, strict=True))
        if not any(True for dialog in dialogs for _ in dialog.pieces(self._room, self._count)):
            raise InputError(f"not one dialog fits dialog.max_length ({self._max_length} tokens); raise it")
        while True:
            for pair in chance.sample(pairs, len(pairs)):
                # Nothing uses this number. It keeps the batches that a seed gave in earlier versions, which
                # drew it here to choose synthetic dialogs.
                chance.random()
                dialog = pair[chance.random() < self._config.no_feedback]
                for piece in dialog.pieces(self._room, self._count):
                    renamed = renaming(piece) if chance.random() < self._config.renamed else piece
                    example = self._example(renamed)
                    if len(example[0]) <= self._max_length:
                        yield example

    def _example(self, messages: Sequence[Message]) -> Example:
        ids, mask = self._chat.encode(messages)
        return ids, [1.0 if is_student else self._config.prompt_weight for is_student in mask]


def batches(examples: Iterator[Example], tokens: int) -> Iterator[list[Example]]:
    """Batches of at most `tokens` padded tokens, of examples of similar length."""
    chance = random.Random(0)
    while chunk := sorted(islice(examples, 256), key=lambda example: len(example[0])):
        groups: list[list[Example]] = [[]]
        for example in chunk:
            if groups[-1] and len(example[0]) * (len(groups[-1]) + 1) > tokens:
                groups.append([])
            groups[-1].append(example)
        chance.shuffle(groups)
        yield from groups

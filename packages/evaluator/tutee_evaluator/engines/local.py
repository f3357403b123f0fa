"""What the engines have in common that write with a model on this machine."""

from pathlib import Path
from typing import Any, Protocol

from tutee_evaluator.engines import Completion, Request
from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import TurnError, read_reply
from tutee_serializer.dialogs.tokens import TokenCounter


class Generator(Protocol):
    """Writes tokens after prompts, up to the token that ends a turn or as many as a turn may have."""

    def add(self, key: int, prompt: list[int], temperature: float = 0.0, seed: int = 0) -> None:
        """Takes a prompt, which `key` names."""
        ...

    def collect(self) -> list[tuple[int, list[int]]]:
        """Works until at least one prompt is done: the keys of those that are, and the tokens after them.

        Empty: no prompt is left.
        """
        ...

    def score(self, prompt: list[int], turn: list[int]) -> float | None:
        """The negative log-likelihood of a turn after a prompt, in nats; None: they are too long."""
        ...


class LocalStudent:
    """A language model on this machine that plays a student: `generator` writes its tokens.

    `batch` is the number of dialogs continued at once.
    """

    def __init__(self, generator: Generator, chat: Chat, card: StudentCard, *, batch: int) -> None:
        self.chat = chat
        self.card = card
        self.format = card.format
        self.feedback = card.feedback
        self.batch = batch
        self._longest_prompt = card.max_length - card.max_new_tokens
        self._count = TokenCounter(chat)
        self._room = self._count.room(self._longest_prompt)
        self._generator = generator
        self._asked: dict[int, tuple[Dialog, int]] = {}  # each dialog and the length of its prompt, by key
        self._refused: list[tuple[int, Completion]] = []

    def prompt(self, dialog: Dialog) -> list[int]:
        """The tokens after which the model writes the student's next turn.

        The oldest turns are left out until the prompt and the longest possible turn fit `card.max_length`.
        The shortest cut may still be longer.
        """
        return self.chat.prompt(dialog.truncated(self._room, self._count))

    def fits(self, dialog: Dialog) -> bool:
        """Whether the model reads the whole dialog before its turn: `prompt` leaves nothing out."""
        return sum(self._count(message["content"]) for message in dialog.messages) <= self._room

    def nats(self, dialog: Dialog, turn: str) -> float | None:
        """The negative log-likelihood of `turn`, as it is written in dialogs, after `dialog`.

        None where the two are longer than the engine can read.
        """
        return self._generator.score(self.prompt(dialog), self.chat.reply(turn))

    def add(self, key: int, request: Request) -> None:
        """Takes a request, which `key` names."""
        prompt = self.prompt(request.dialog)
        if len(prompt) > self._longest_prompt:
            reason = (
                f"the dialog is too long for the model: its shortest cut has {len(prompt)} tokens, and "
                f"{self._longest_prompt} leave space for a turn"
            )
            self._refused.append((key, Completion("", None, reason, len(prompt))))
        else:
            self._asked[key] = request.dialog, len(prompt)
            self._generator.add(key, prompt, request.temperature, request.seed)

    def collect(self) -> list[tuple[int, Completion]]:
        """Works until at least one request is done; returns those that are. Empty: there are none left."""
        if self._refused:
            refused, self._refused = self._refused, []
            return refused
        return [(key, self._read(tokens, *self._asked.pop(key))) for key, tokens in self._generator.collect()]

    def _read(self, tokens: list[int], dialog: Dialog, prompt_tokens: int) -> Completion:
        if tokens[-1:] != [self.chat.end]:
            reason = f"no end of turn within {self.card.max_new_tokens} tokens"
            return Completion("", None, reason, prompt_tokens, len(tokens))
        text = self.chat.decode(tokens)
        try:
            reading = read_reply(self.format, dialog.previous, text)
        except TurnError as error:
            return Completion(text, None, str(error), prompt_tokens, len(tokens))
        return Completion(text, reading.program, None, prompt_tokens, len(tokens), reading.repair)


def base_of(folder: Path, card: StudentCard) -> tuple[str, str | None]:
    """The base model's weights for `folder`: a folder, or a name on the hub with its revision.

    Raises InputError where there are none.
    """
    if (folder / "config.json").exists():
        return str(folder), None
    base = card.base_of(folder)
    if not Path(base).is_dir() or (Path(base) / "config.json").exists():
        return base, card.revision
    if Path(base) == folder.resolve():
        raise InputError(f"{folder}: has neither a model (config.json) nor a base; train it again")
    return base_of(Path(base), StudentCard.load(Path(base)))


def load_tokenizer(folder: Path, base: str, revision: str | None) -> Any:
    """The tokenizer in a student's folder, or else that of its base; raises OSError where there is none."""
    from transformers import AutoTokenizer

    if (folder / "tokenizer_config.json").exists():
        return AutoTokenizer.from_pretrained(folder)
    return AutoTokenizer.from_pretrained(base, revision=revision)

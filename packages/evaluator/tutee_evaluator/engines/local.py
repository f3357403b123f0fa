"""What the engines have in common that write with a model on this machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutee_evaluator.engines import Completion, Request
from tutee_evaluator.engines.generator import Generator, Written
from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import Message, TurnError, read_reply
from tutee_serializer.dialogs.tokens import TokenCounter


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
        self._asked: dict[int, tuple[Request, int]] = {}  # each with the length of its prompt, by key
        self._refused: list[tuple[int, Completion]] = []

    def cut(self, dialog: Dialog) -> list[Message]:
        """What the model reads of a dialog.

        The oldest turns are left out until it and the longest possible turn fit `card.max_length`. The
        shortest cut may still be longer.
        """
        return dialog.truncated(self._room, self._count)

    def prompt(self, dialog: Dialog) -> list[int]:
        """The tokens of `cut`, after which the model writes the student's next turn."""
        return self.chat.prompt(self.cut(dialog))

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
        prompt = self.prompt(request.dialog) if request.prompt is None else list(request.prompt)
        if reason := self.too_long(prompt):
            self._refused.append((key, Completion("", None, reason, len(prompt))))
            return
        self._asked[key] = request, len(prompt)
        self._generator.add(
            key, prompt, request.temperature, request.seed, request.max_new_tokens, request.logprobs
        )

    def too_long(self, prompt: Sequence[int]) -> str | None:
        """Why the model cannot write after a prompt of so many tokens; None where it can."""
        if len(prompt) <= self._longest_prompt:
            return None
        return (
            f"the dialog is too long for the model: its shortest cut has {len(prompt)} tokens, and "
            f"{self._longest_prompt} leave space for a turn"
        )

    def cancel(self, key: int) -> None:
        """Stops working on a request, which is never done; nothing if it is done."""
        self._refused = [refused for refused in self._refused if refused[0] != key]
        if self._asked.pop(key, None):
            self._generator.cancel(key)

    def written(self, key: int) -> str | None:
        """The text of a turn, as far as it is written; None where it is done or has not begun."""
        tokens = self._generator.written(key) if key in self._asked else []
        return self.chat.decode(tokens).rstrip("\ufffd") if tokens else None

    def step(self) -> list[tuple[int, Completion]]:
        """Works for a moment, on all requests; returns those that are done by it."""
        if self._refused:
            refused, self._refused = self._refused, []
            return refused
        return [
            (written.key, self.read(written, *self._asked.pop(written.key)))
            for written in self._generator.step()
        ]

    def collect(self) -> list[tuple[int, Completion]]:
        """Works until at least one request is done; returns those that are. Empty: there are none left."""
        done: list[tuple[int, Completion]] = []
        while not done and (self._refused or self._asked):
            done = self.step()
        return done

    def read(self, written: Written, request: Request, prompt_tokens: int) -> Completion:
        """The turn of a request, as a model has written it after so many tokens."""
        tokens, likely = written.tokens, written.logprobs
        text = self.chat.decode(tokens)
        program, reason, repair = None, None, None
        ended = tokens[-1:] == [self.chat.end]
        if not ended:
            reason = f"no end of turn within {len(tokens)} tokens"
        else:
            try:
                reading = read_reply(self.format, request.dialog.previous, text)
                program, repair = reading.program, reading.repair
            except TurnError as error:
                reason = str(error)
        return Completion(
            text,
            program,
            reason,
            prompt_tokens,
            len(tokens),
            repair,
            "stop" if ended else "length",
            sum(likely) if likely else None,
            tuple(zip(tokens, likely, strict=True)) if likely else (),
        )


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

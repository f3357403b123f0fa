"""A language model, loaded with the library transformers, that plays a student."""

from pathlib import Path
from typing import Any

from tutee_evaluator.engines import Completion, Request
from tutee_grader.errors import InputError, UnavailableError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import TurnError, read_reply
from tutee_serializer.dialogs.tokens import TokenCounter


class Student:
    """A language model that plays a student. `batch` is the number of dialogs continued at once."""

    def __init__(self, model: Any, chat: Chat, card: StudentCard, *, batch: int = 16) -> None:
        from tutee_evaluator.engines.generation import BatchGenerator

        self.model = model
        self.chat = chat
        self.card = card
        self.format = card.format
        self.feedback = card.feedback
        self.batch = batch
        self._count = TokenCounter(chat)
        self._generator = BatchGenerator(model, chat.end, card.max_new_tokens, batch=batch)
        self._asked: dict[int, tuple[Dialog, int]] = {}  # each dialog and the length of its prompt, by key

    @classmethod
    def load(cls, folder: Path | str, device: str | None = None, **settings: Any) -> "Student":
        """The student in `folder`: an adapter with its base, or a base alone.

        An adapter is merged into its base unless the base is quantised, which saves two small products
        per layer and token. `device` defaults to CUDA where there is a GPU. `settings` are those of the
        constructor. Raises InputError where `folder` holds no student, and UnavailableError where its
        model cannot be loaded.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # of a second, and without a terminal the log's longest lines
        folder = Path(folder)
        card = StudentCard.load(folder)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        base, revision = _base(folder, card)
        try:
            if (folder / "tokenizer_config.json").exists():
                tokenizer = AutoTokenizer.from_pretrained(folder)
            else:
                tokenizer = AutoTokenizer.from_pretrained(base, revision=revision)
            # Float32 on a CPU: few multiply bfloat16 faster, and an adapter merged into it is rounded.
            model = AutoModelForCausalLM.from_pretrained(
                base,
                revision=revision,
                dtype=torch.bfloat16 if device.startswith("cuda") else torch.float32,
                device_map=device,
            )
            if (folder / "adapter_config.json").exists():
                from peft import PeftModel

                model = PeftModel.from_pretrained(model, folder)
                if getattr(model.config, "quantization_config", None) is None:
                    model = model.merge_and_unload()
        except (OSError, torch.cuda.OutOfMemoryError) as error:
            raise UnavailableError(
                f"{folder}: the model (base {base}) cannot be loaded: {error}; train it again, or check "
                "that the base is there and the memory is large enough"
            ) from error
        model.eval()
        return cls(model, Chat(tokenizer), card, **settings)

    def prompt(self, dialog: Dialog) -> list[int]:
        """The tokens after which the model writes the student's next turn.

        The oldest turns are left out until the prompt and the longest possible turn fit `card.max_length`.
        """
        room = self._count.room(self.card.max_length - self.card.max_new_tokens)
        return self.chat.prompt(dialog.truncated(room, self._count))

    def nats(self, dialog: Dialog, turn: str) -> float:
        """The negative log-likelihood of `turn`, as it is written in dialogs, after `dialog`."""
        return self._generator.score(self.prompt(dialog), self.chat.reply(turn))

    def add(self, key: int, request: Request) -> None:
        """Takes a request, which `key` names."""
        prompt = self.prompt(request.dialog)
        self._asked[key] = request.dialog, len(prompt)
        self._generator.add(key, prompt, request.temperature, request.seed)

    def collect(self) -> list[tuple[int, Completion]]:
        """Works until at least one request is done; returns those that are. Empty: there are none left."""
        return [(key, self._read(tokens, *self._asked.pop(key))) for key, tokens in self._generator.collect()]

    def _read(self, tokens: list[int], dialog: Dialog, prompt_tokens: int) -> Completion:
        if tokens[-1] != self.chat.end:
            reason = f"no end of turn within {self.card.max_new_tokens} tokens"
            return Completion("", None, reason, prompt_tokens, len(tokens))
        text = self.chat.decode(tokens)
        try:
            reading = read_reply(self.format, dialog.previous, text)
        except TurnError as error:
            return Completion(text, None, str(error), prompt_tokens, len(tokens))
        return Completion(text, reading.program, None, prompt_tokens, len(tokens), reading.repair)


def _base(folder: Path, card: StudentCard) -> tuple[str, str | None]:
    """The base model's weights for `folder`: a folder, or a name on the hub with its revision."""
    if (folder / "config.json").exists():
        return str(folder), None
    base = card.base_of(folder)
    if not Path(base).is_dir() or (Path(base) / "config.json").exists():
        return base, card.revision
    if Path(base) == folder.resolve():
        raise InputError(f"{folder}: has neither a model (config.json) nor a base; train it again")
    return _base(Path(base), StudentCard.load(Path(base)))

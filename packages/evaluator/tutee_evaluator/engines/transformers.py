"""A language model, loaded with the library transformers, that plays a student."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tutee_evaluator.engines import Completion
from tutee_grader.errors import InputError, UnavailableError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import TurnError, read_reply
from tutee_serializer.dialogs.tokens import TokenCounter


class Student:
    """A language model that plays a student.

    `temperature` 0 takes the likeliest token each time; above 0, tokens are drawn with `seed`. `batch`
    is the number of dialogs continued at once.
    """

    def __init__(
        self,
        model: Any,
        chat: Chat,
        card: StudentCard,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        batch: int = 16,
        progress: bool = False,
    ) -> None:
        from tutee_evaluator.engines.generation import BatchGenerator

        self.model = model
        self.chat = chat
        self.card = card
        self.format = card.format
        self.feedback = card.feedback
        self.temperature = temperature
        self.batch = batch
        self.progress = progress
        self._count = TokenCounter(chat)
        self._generator = BatchGenerator(
            model, chat.end, card.max_new_tokens, temperature=temperature, seed=seed, batch=batch
        )

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

    def complete(self, dialogs: Sequence[Dialog]) -> list[Completion]:
        prompts = [self.prompt(dialog) for dialog in dialogs]
        return [
            self._read(dialog, text, len(prompt))
            for dialog, prompt, text in zip(dialogs, prompts, self._write(prompts), strict=True)
        ]

    def _read(self, dialog: Dialog, text: str | None, prompt_tokens: int) -> Completion:
        if text is None:
            reason = f"no end of turn within {self.card.max_new_tokens} tokens"
            return Completion("", None, reason, prompt_tokens)
        completion_tokens = self._count.length(text)
        try:
            reading = read_reply(self.format, dialog.previous, text)
        except TurnError as error:
            return Completion(text, None, str(error), prompt_tokens, completion_tokens)
        return Completion(text, reading.program, None, prompt_tokens, completion_tokens, reading.repair)

    def _write(self, prompts: list[list[int]]) -> list[str | None]:
        """The turn after each prompt, in the same order; None where it does not end in time."""
        texts: list[str | None] = [None] * len(prompts)
        with tqdm(
            total=len(prompts), desc=f"{self.card.method} writes", unit="turn", leave=False,
            disable=None if self.progress else True,
        ) as bar:  # fmt: skip
            for row, tokens in self._generator.generate(prompts):
                if tokens[-1] == self.chat.end:
                    texts[row] = self.chat.decode(tokens)
                bar.update()
        return texts


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

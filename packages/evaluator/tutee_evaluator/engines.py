"""What hands in the next program: an artificial student, or the baseline that changes nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from tutee_grader import Level
from tutee_grader.errors import InputError, UnavailableError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.formats import TurnError, read_turn, write_turn
from tutee_serializer.dialogs.truncation import truncate

if TYPE_CHECKING:
    import torch

Message = dict[str, str]  # role, content


@dataclass(frozen=True)
class Situation:
    """Where a student stands: what was said so far, ending with a user's turn, and their last program."""

    messages: Sequence[Message]
    previous: str | None


@dataclass(frozen=True)
class Attempt:
    """What came of a situation: the turn as it was written, and the program in it or why there is none."""

    content: str
    program: str | None
    reason: str | None = None


class Engine(Protocol):
    """Whatever can be rolled out. `feedback` is the level of feedback it is to be shown."""

    format: str
    feedback: Level

    def next_programs(self, situations: Sequence[Situation]) -> list[Attempt]:
        """One attempt per situation, in the same order."""
        ...


class Copy:
    """The baseline that hands in the last program again. A student who has learnt something beats it."""

    def __init__(self, format: str, feedback: Level) -> None:
        self.format = format
        self.feedback = feedback

    def next_programs(self, situations: Sequence[Situation]) -> list[Attempt]:
        attempts = []
        for situation in situations:
            if situation.previous is None:
                attempts.append(Attempt("", None, "no program before this one to hand in again"))
            else:
                content = write_turn(self.format, situation.previous, situation.previous)
                attempts.append(Attempt(content, situation.previous))
        return attempts


class Student:
    """A language model that plays a student.

    `temperature` 0 takes the likeliest token each time; above 0 tokens are drawn, from `seed` on.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        card: StudentCard,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        batch: int = 16,
        progress: bool = False,
    ) -> None:
        import torch

        self.model = model
        self.tokenizer = tokenizer
        self.card = card
        self.format = card.format
        self.feedback = card.feedback
        self.temperature = temperature
        self.batch = batch
        self.progress = progress
        self._random = torch.Generator(device=model.device).manual_seed(seed)
        # What the chat template puts around each turn, and before the one to be written.
        turns = [{"role": role, "content": "x"} for role in ("system", "user", "assistant", "user")]
        rendered = tokenizer.apply_chat_template(turns, tokenize=False)
        opened = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        self._markup = math.ceil((self._tokens(rendered) - 4 * self._tokens("x")) / 4)
        self._opening = self._tokens(opened) - self._tokens(rendered)
        self._count = lru_cache(maxsize=65536)(lambda text: self._tokens(text) + self._markup)

    @classmethod
    def load(cls, folder: Path | str, device: str | None = None, **settings: Any) -> "Student":
        """The student in `folder`: an adapter with its base, or a base alone.

        An adapter is merged into its base where the base is not quantised, which spares two small
        products per layer and token. `device` is CUDA where there is one. `settings` are those of the
        constructor. Raises InputError where `folder` holds no student, and
        UnavailableError where its model cannot be loaded.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = Path(folder)
        card = StudentCard.load(folder)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        base = _base(folder, card)
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                folder if (folder / "tokenizer_config.json").exists() else base
            )
            model = AutoModelForCausalLM.from_pretrained(
                base, dtype=torch.bfloat16 if device.startswith("cuda") else torch.float32, device_map=device
            )
            if (folder / "adapter_config.json").exists():
                from peft import PeftModel

                model = PeftModel.from_pretrained(model, folder)
                if getattr(model.config, "quantization_config", None) is None:
                    model = model.merge_and_unload()
        except (OSError, torch.cuda.OutOfMemoryError) as error:
            raise UnavailableError(
                f"{folder}: the model (base {base}) cannot be loaded: {error}; train it again, or see "
                "that the base is there and the memory suffices"
            ) from error
        model.eval()
        return cls(model, tokenizer, card, **settings)

    def prompt(self, messages: Sequence[Message]) -> str:
        """The text after which the student's next turn begins.

        The oldest turns are left out until the prompt and a longest answer fit `card.max_length`.
        """
        budget = self.card.max_length - self.card.max_new_tokens - self._opening
        kept = truncate(list(messages), budget, self._count)
        return self.tokenizer.apply_chat_template(kept, tokenize=False, add_generation_prompt=True)

    def next_programs(self, situations: Sequence[Situation]) -> list[Attempt]:
        texts = self.write([self.prompt(situation.messages) for situation in situations])
        attempts = []
        for situation, text in zip(situations, texts, strict=True):
            attempts.append(self._read(situation, text))
        return attempts

    def write(self, prompts: Sequence[str]) -> list[str | None]:
        """The turn after each prompt, in the same order; None where it did not end in time."""
        encoded = [self._encode(prompt) for prompt in prompts]
        longest_first = sorted(range(len(encoded)), key=lambda row: -len(encoded[row]))
        texts: list[str | None] = [None] * len(encoded)
        with tqdm(
            total=len(encoded), desc=f"{self.card.method} writes", unit="turn", leave=False,
            disable=None if self.progress else True,
        ) as bar:  # fmt: skip
            for start in range(0, len(encoded), self.batch):
                rows = longest_first[start : start + self.batch]
                for row, tokens in zip(rows, self._generate([encoded[row] for row in rows]), strict=True):
                    if tokens is not None:
                        texts[row] = self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
                bar.update(len(rows))
        return texts

    def _read(self, situation: Situation, text: str | None) -> Attempt:
        if text is None:
            return Attempt("", None, f"no end of turn within {self.card.max_new_tokens} tokens")
        try:
            return Attempt(text, read_turn(self.format, situation.previous, text))
        except TurnError as error:
            return Attempt(text, None, str(error))

    def _generate(self, prompts: list[list[int]]) -> list[list[int] | None]:
        """The tokens after each prompt up to the end of turn; None where that does not come in time.

        A row that has ended leaves the batch at once, so that the longest answer is written alone
        rather than beside padding.
        """
        import torch
        from transformers import DynamicCache

        with torch.inference_mode():
            ids, mask = self._left_padded(prompts)
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            cache = DynamicCache(config=self.model.config)
            going = list(range(len(prompts)))
            written: list[list[int]] = [[] for _ in prompts]
            ended: set[int] = set()
            for _ in range(self.card.max_new_tokens):
                logits = self.model(
                    input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache,
                    use_cache=True, logits_to_keep=1,
                ).logits[:, -1]  # fmt: skip
                chosen = self._choose(logits)
                stops = (chosen == self.tokenizer.eos_token_id).tolist()
                for row, token, stop in zip(going, chosen.tolist(), stops, strict=True):
                    ended.add(row) if stop else written[row].append(token)
                if all(stops):
                    break
                ids, positions = chosen[:, None], positions[:, -1:] + 1
                if any(stops):
                    keep = torch.tensor([at for at, stop in enumerate(stops) if not stop], device=ids.device)
                    cache.batch_select_indices(keep)
                    ids, positions, mask = ids[keep], positions[keep], mask[keep]
                    going = [row for row, stop in zip(going, stops, strict=True) if not stop]
                mask = torch.cat([mask, mask.new_ones(len(going), 1)], dim=1)
        return [tokens if row in ended else None for row, tokens in enumerate(written)]

    def _left_padded(self, prompts: list[list[int]]) -> tuple["torch.Tensor", "torch.Tensor"]:
        import torch

        width = max(map(len, prompts))
        padding = self.tokenizer.pad_token_id or 0
        ids = [[padding] * (width - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        return torch.tensor(ids, device=self.model.device), torch.tensor(mask, device=self.model.device)

    def _choose(self, logits: "torch.Tensor") -> "torch.Tensor":
        import torch

        if self.temperature == 0:
            return logits.argmax(-1)
        chances = torch.softmax(logits.float() / self.temperature, dim=-1)
        return torch.multinomial(chances, 1, generator=self._random)[:, 0]

    def _tokens(self, text: str) -> int:
        return len(self._encode(text))

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def _base(folder: Path, card: StudentCard) -> str:
    """Where the weights below `folder`'s own lie: a folder, or a name on the hub."""
    if (folder / "config.json").exists():
        return str(folder)
    base = card.base_of(folder)
    if not Path(base).is_dir() or (Path(base) / "config.json").exists():
        return base
    if Path(base) == folder.resolve():
        raise InputError(f"{folder}: has neither a model (config.json) nor a base; train it again")
    return _base(Path(base), StudentCard.load(Path(base)))

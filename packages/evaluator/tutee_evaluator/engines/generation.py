"""Generates from a model: many prompts at once, of which nothing is read twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from tutee_evaluator.engines.cache import GrowingLayer, PrefixCache, growing_cache, join


class BatchGenerator:
    """Writes up to `max_new_tokens` tokens after prompts, `batch` of them at once, until the token `end`.

    `temperature` 0 takes the likeliest token each time; above 0, tokens are drawn with `seed`.
    """

    def __init__(
        self, model: Any, end: int, max_new_tokens: int, *, temperature: float, seed: int, batch: int
    ) -> None:
        self.model = model
        self.end, self.max_new_tokens, self.batch = end, max_new_tokens, batch
        self.temperature = temperature
        self._random = torch.Generator(device=model.device).manual_seed(seed)
        self._known, self._kept = PrefixCache(), PrefixCache()  # of the call before, and of this one

    def generate(self, prompts: Sequence[list[int]]) -> Iterator[tuple[int, list[int] | None]]:
        """The number of each prompt, as it is done, and the tokens after it; None: without an end in time."""
        longest_first = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
        for start in range(0, len(prompts), self.batch):
            numbers = longest_first[start : start + self.batch]
            with torch.inference_mode():
                rows = self._generate([_Row(prompts[number]) for number in numbers])
            for number, row in zip(numbers, rows, strict=True):
                yield number, row.written if row.has_ended else None
        self._known, self._kept = self._kept, PrefixCache()

    def _generate(self, rows: list[_Row]) -> list[_Row]:
        """Rows that have ended leave once they are a quarter of the batch: the others are copied for it."""
        logits, cache, mask = self._read(rows)
        positions = mask.sum(1, keepdim=True)
        going = rows
        for _ in range(self.max_new_tokens):
            chosen = self._choose(logits)
            for row, token in zip(going, chosen.tolist(), strict=True):
                row.append(token, self.end)
            stay = [at for at, row in enumerate(going) if not row.has_ended]
            if not stay:
                break
            ids = chosen[:, None]
            if 4 * len(stay) <= 3 * len(going):
                self._keep(cache, mask, going)
                keep = torch.tensor(stay, device=ids.device)
                cache.batch_select_indices(keep)
                ids, positions, mask = ids[keep], positions[keep], mask[keep]
                going = [going[at] for at in stay]
            mask = torch.cat([mask, mask.new_ones(len(going), 1)], dim=1)
            logits = self._forward(ids, cache, attention_mask=mask, position_ids=positions)
            positions = positions + 1
        self._keep(cache, mask, going)
        return rows

    def _read(self, rows: Sequence[_Row]) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """The logits after each prompt, the cache of all prompts, and the mask of its padding on the left.

        Where the model's cache allows to join them, prompts are read one by one: without padding, and from
        where the call before has known them.
        """
        prompts = [row.prompt for row in rows]
        width = max(map(len, prompts))
        mask = self._tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        caches = [growing_cache(self.model.config) for _ in prompts]
        if None in caches:
            cache = DynamicCache(config=self.model.config)
            ids = self._tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            return self._forward(ids, cache, attention_mask=mask, position_ids=positions), cache, mask
        logits = []
        for prompt, cache in zip(prompts, caches, strict=True):
            known = self._known.take(prompt, cache)
            logits.append(self._forward(self._tensor([prompt[known:]]), cache))
        return torch.cat(logits), join(caches), mask

    def _keep(self, cache: Any, mask: torch.Tensor, going: Sequence[_Row]) -> None:
        """Keeps what the rows that have ended have read and written, for the next call."""
        if not isinstance(cache.layers[0], GrowingLayer):
            return
        for at, row in enumerate(going):
            if row.has_ended:
                self._kept.keep(row.prompt + row.written, cache, at, start=int(mask[at].argmax()))

    def _forward(self, ids: torch.Tensor, cache: Any, **keywords: Any) -> torch.Tensor:
        """The logits after the last of `ids` (rows, tokens), which join the cache: (rows, vocabulary)."""
        output = self.model(
            input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **keywords
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _tensor(self, rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor(rows, device=self.model.device)

    def _choose(self, logits: torch.Tensor) -> torch.Tensor:
        if self.temperature == 0:
            return logits.argmax(-1)
        chances = torch.softmax(logits.float() / self.temperature, dim=-1)
        return torch.multinomial(chances, 1, generator=self._random)[:, 0]


@dataclass
class _Row:
    """A prompt with what has been written after it, without the token that ends it."""

    prompt: list[int]
    written: list[int] = field(default_factory=list)
    has_ended: bool = False

    def append(self, token: int, end: int) -> None:
        if not self.has_ended:
            self.has_ended = token == end
            if not self.has_ended:
                self.written.append(token)

"""Generates from a model: many prompts at once, of which nothing is read twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from tutee_evaluator.engines.cache import GrowingLayer, PrefixCache, allows_gaps, growing_cache, join
from tutee_evaluator.engines.drafts import PromptLookup

READ_AT_ONCE = 512  # tokens, of one prompt or of several: fewer make a processor's products slow


class BatchGenerator:
    """Writes up to `max_new_tokens` tokens after prompts, `batch` of them at once, until the token `end`.

    A draft of the next tokens is read in one pass, and as much of it is kept as the model chooses itself
    (speculative decoding, Leviathan et al., 2023): drafts change the speed, not what is written.
    `temperature` 0 takes the likeliest token each time; above 0, tokens are drawn with `seed`. With
    `reuse_prefixes` a call reads of each prompt only what the call before neither read nor wrote: for
    dialogs that go on, under weights that stay.
    """

    def __init__(
        self,
        model: Any,
        end: int,
        max_new_tokens: int,
        *,
        temperature: float,
        seed: int,
        batch: int,
        reuse_prefixes: bool = True,
    ) -> None:
        self.model = model
        self.reuse_prefixes = reuse_prefixes
        self.end, self.max_new_tokens, self.batch = end, max_new_tokens, batch
        self.temperature = temperature
        self._drafts = allows_gaps(model.config)
        self._random = torch.Generator(device=model.device).manual_seed(seed)
        self._known, self._kept = PrefixCache(), PrefixCache()  # of the call before, and of this one

    def generate(self, prompts: Sequence[list[int]]) -> Iterator[tuple[int, list[int]]]:
        """The number of each prompt, as it is done, and the tokens after it.

        The last of them is `end`, or there are `max_new_tokens` without it.
        """
        longest_first = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
        for start in range(0, len(prompts), self.batch):
            numbers = longest_first[start : start + self.batch]
            with torch.inference_mode():
                rows = self._generate([self._row(prompts[number]) for number in numbers])
            for number, row in zip(numbers, rows, strict=True):
                yield number, row.written
        self._known, self._kept = self._kept, PrefixCache()

    def _generate(self, rows: list[_Row]) -> list[_Row]:
        """Rows that are done leave once they are a quarter of the batch: the others are copied for it."""
        logits, cache, mask = self._read(rows)
        going = rows
        while True:
            chosen = self._choose(logits).tolist()
            accepted = [row.accept(tokens) for row, tokens in zip(going, chosen, strict=True)]
            width = logits.shape[1] - 1
            if width:  # what was not accepted stays in the cache, and is never seen again
                mask[:, -width:] = self._tensor([[at < number for at in range(width)] for number in accepted])
            stay = [at for at, row in enumerate(going) if not row.is_done]
            if not stay:
                break
            if 4 * len(stay) <= 3 * len(going):
                self._keep(cache, mask, going)
                keep = torch.tensor(stay, device=mask.device)
                cache.batch_select_indices(keep)
                mask, going = mask[keep], [going[at] for at in stay]
            unread = [row.unread() for row in going]
            width = max(map(len, unread))
            ids = self._tensor([_padded(tokens, width) for tokens in unread])
            real = self._tensor([_padded([1] * len(tokens), width) for tokens in unread])
            mask = torch.cat([mask, real], dim=1)
            positions = (mask.cumsum(1) - 1)[:, -width:]
            logits = self._forward(ids, cache, last=width, attention_mask=mask, position_ids=positions)
        self._keep(cache, mask, going)
        return rows

    def _read(self, rows: Sequence[_Row]) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """The logits after each prompt, the cache of all prompts, and the mask of its padding on the left.

        Where the model's cache allows to join them, prompts are read without padding, equal ones once, and
        from where the call before has known them.
        """
        mask = self._mask([len(row.prompt) for row in rows])
        if growing_cache(self.model.config) is None:
            cache = DynamicCache(config=self.model.config)
            width = mask.shape[1]
            ids = self._tensor([[0] * (width - len(row.prompt)) + row.prompt for row in rows])
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            return self._forward(ids, cache, attention_mask=mask, position_ids=positions), cache, mask
        unread = []
        for prompt in dict.fromkeys(tuple(row.prompt) for row in rows):
            cache = growing_cache(self.model.config)
            unread.append(_Unread(prompt, cache, self._known.take(prompt, cache)))
        read = {}
        for group in _groups(unread):
            logits, cache = self._read_group(group)
            for row, one in enumerate(group):
                read[one.prompt] = logits[row], (cache, row)
        logits, dialogs = zip(*(read[tuple(row.prompt)] for row in rows), strict=True)
        return torch.stack(logits), join(dialogs), mask

    def _read_group(self, group: Sequence[_Unread]) -> tuple[torch.Tensor, Any]:
        """The logits after prompts that are read together: of each as many tokens as the longest rest has."""
        rest = max(one.rest for one in group)
        ids = self._tensor([one.prompt[-rest:] for one in group])
        if len(group) == 1:
            return self._forward(ids, group[0].cache), group[0].cache
        for one in group:
            one.cache.crop(one.rest - rest)
        lengths = [len(one.prompt) for one in group]
        cache = join([(one.cache, 0) for one in group])
        positions = self._tensor([list(range(length - rest, length)) for length in lengths])
        return self._forward(ids, cache, attention_mask=self._mask(lengths), position_ids=positions), cache

    def _keep(self, cache: Any, mask: torch.Tensor, going: Sequence[_Row]) -> None:
        """Keeps what the rows that have ended have read and written, for the next call."""
        if not self.reuse_prefixes or not isinstance(cache.layers[0], GrowingLayer):
            return
        for at, row in enumerate(going):
            if row.has_ended:
                self._kept.keep(row.prompt + row.written[:-1], cache, at, mask[at].nonzero()[:, 0])

    def _forward(self, ids: torch.Tensor, cache: Any, last: int = 1, **keywords: Any) -> torch.Tensor:
        """The logits after the `last` of `ids` (rows, tokens), which join the cache.

        Shape: (rows, last, vocabulary).
        """
        logits: torch.Tensor = self.model(
            input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=last, **keywords
        ).logits
        return logits[:, -last:]

    def _mask(self, lengths: Sequence[int]) -> torch.Tensor:
        """1 for each token of prompts of these lengths, which end together; 0 for the padding before them."""
        width = max(lengths)
        return self._tensor([[0] * (width - length) + [1] * length for length in lengths])

    def _tensor(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.tensor(rows, device=self.model.device)

    def _choose(self, logits: torch.Tensor) -> torch.Tensor:
        """A token at each place: (rows, places) of (rows, places, vocabulary)."""
        if self.temperature == 0:
            return logits.argmax(-1)
        chances = torch.softmax(logits.float() / self.temperature, dim=-1)
        return torch.multinomial(chances.flatten(0, 1), 1, generator=self._random).view(logits.shape[:2])

    def _row(self, prompt: list[int]) -> _Row:
        lookup = PromptLookup(prompt) if self._drafts else None
        return _Row(prompt, self.end, self.max_new_tokens, lookup)


@dataclass
class _Row:
    """A prompt with what has been written after it: `limit` tokens at most, `end` the last."""

    prompt: list[int]
    end: int
    limit: int
    lookup: PromptLookup | None
    written: list[int] = field(default_factory=list)
    draft: list[int] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        return self.written[-1:] == [self.end]

    @property
    def is_done(self) -> bool:
        return self.has_ended or len(self.written) == self.limit

    def unread(self) -> list[int]:
        """What the model reads next: the last token, and a draft of those that may follow it."""
        if self.is_done:
            return []
        room = self.limit - len(self.written) - 1  # the model chooses one more than is drafted
        self.draft = self.lookup.draft()[:room] if self.lookup else []
        return [self.written[-1], *self.draft]

    def accept(self, chosen: list[int]) -> int:
        """Appends what the model chose before the draft and after each of its tokens, as long as they agree.

        Returns how many tokens of the draft that are.
        """
        before = len(self.written)
        for at, token in enumerate(chosen):
            if self.is_done:
                break
            self.written.append(token)
            if at == len(self.draft) or token != self.draft[at]:
                break
        new = self.written[before:]
        if self.lookup:
            self.lookup.extend(new)
        return max(0, len(new) - 1)


@dataclass(frozen=True)
class _Unread:
    """A prompt of which a cache holds the first `known` tokens."""

    prompt: tuple[int, ...]
    cache: Any
    known: int

    @property
    def rest(self) -> int:
        return len(self.prompt) - self.known


def _groups(prompts: Sequence[_Unread]) -> Iterator[list[_Unread]]:
    """Prompts that are read together: with little to read, and all of them known from further before."""
    group: list[_Unread] = []
    for one in sorted(prompts, key=lambda one: one.rest):
        together = [*group, one]
        small = one.rest * len(together) <= READ_AT_ONCE
        if group and not (small and all(len(other.prompt) > one.rest for other in together)):
            yield group
            together = [one]
        group = together
    yield group


def _padded(tokens: list[int], width: int) -> list[int]:
    return tokens + [0] * (width - len(tokens))

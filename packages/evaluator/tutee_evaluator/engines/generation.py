"""Generates from a model: many prompts at once, of which nothing is read twice."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from tutee_evaluator.engines.cache import Held, PrefixCache, allows_gaps, growing_cache, join
from tutee_evaluator.engines.drafts import PromptLookup
from tutee_evaluator.engines.generator import KEPT_BYTES, Written
from tutee_evaluator.engines.rows import Row, choose

READ_AT_ONCE = 512  # tokens, of one prompt or of several: fewer make a processor's products slow
# A processor reads drafts for no more rows than these: of 8 rows of SmolLM2, 16 tokens each take 3 times as
# long as one token each, and of 32 rows 8 times, for which too few are accepted where turns are drawn. Eight
# clients of a tiny student are answered a third faster without them, and two slower (`tutee bench serve`).
DRAFTED_ROWS = 4
# A prompt waits for so many passes at most while there is room: each time rows join, all are copied.
LONGEST_WAIT = 16


class BatchGenerator:
    """Writes up to `max_new_tokens` tokens after prompts, `batch` of them at once, until the token `end`.

    As soon as a quarter of the batch is done, waiting prompts take those places. Of a prompt only what the
    generator has neither read nor written yet is read, where the model's cache allows it; `prefix_bytes` is
    the memory for what it keeps, for as long as the model's weights stay. A draft of the next tokens is read
    in one pass, and as much of it is kept as the model chooses itself (speculative decoding, Leviathan et
    al., 2023): drafts change the speed, not what is written.

    Where memory runs out, half as many prompts are written at once from then on.
    """

    def __init__(
        self, model: Any, end: int, max_new_tokens: int, *, batch: int, prefix_bytes: int = KEPT_BYTES
    ) -> None:
        self.model = model
        self.end, self.max_new_tokens, self.batch = end, max_new_tokens, batch
        self._joins = growing_cache(model.config) is not None
        self._drafts = allows_gaps(model.config)
        self._known = PrefixCache(prefix_bytes)
        self._waiting: deque[Row] = deque()
        self._passes = 0  # since a prompt began to wait
        self._rows: list[Row] = []  # of the cache and its mask
        self._cache: Any = None
        self._mask = torch.zeros(0, 0)
        self._done: list[Row] = []

    def add(
        self,
        key: int,
        prompt: list[int],
        temperature: float = 0.0,
        seed: int = 0,
        limit: int | None = None,
        logprobs: bool = False,
    ) -> None:
        """Takes a prompt, which `key` names, after which at most `limit` tokens are written.

        `temperature` 0 takes the likeliest token each time; above, tokens are drawn, which depends on `seed`
        and not on the other prompts.
        """
        limit = min(limit or self.max_new_tokens, self.max_new_tokens)
        lookup = PromptLookup(prompt) if self._drafts else None
        draws = np.random.default_rng(seed).random(limit) if temperature else None
        self._waiting.append(Row(key, prompt, self.end, limit, lookup, temperature or 1.0, draws, logprobs))

    def cancel(self, key: int) -> None:
        """Stops writing after a prompt, which is never done; nothing if it is done."""
        self._waiting = deque(row for row in self._waiting if row.key != key)
        for row in self._rows:
            row.cancelled = row.cancelled or (row.key == key and not row.is_done)

    def written(self, key: int) -> list[int]:
        """The tokens that have been written after a prompt that is not done yet."""
        return next((row.written for row in self._rows if row.key == key and not row.is_done), [])

    def step(self) -> list[Written]:
        """Reads or writes once for all prompts; returns what was written after those that are done by it."""
        with torch.inference_mode():
            if self._waiting or self._rows:
                self._step()
        done, self._done = self._done, []
        return [Written(row.key, row.written, row.logprobs) for row in done]

    def collect(self) -> list[tuple[int, list[int]]]:
        """Works until at least one prompt is done: the keys of those that are, and the tokens after them.

        Empty: no prompt is left.
        """
        done: list[Written] = []
        while not done and (self._waiting or self._rows):
            done = self.step()
        return [(written.key, written.tokens) for written in done]

    def collect_all(self) -> Iterator[tuple[int, list[int]]]:
        """The same until no prompt is left, one after the other as they are done."""
        while done := self.collect():
            yield from done

    def score(self, prompt: list[int], turn: list[int]) -> float:
        """The negative log-likelihood of a turn after a prompt, in nats: one pass, without sampling."""
        cache = growing_cache(self.model.config)
        with torch.inference_mode():
            known = self._known.take(prompt, cache) if cache else 0
            ids = self._tensor([[*prompt, *turn[:-1]][known:]])
            logits = self._forward(ids, cache or DynamicCache(config=self.model.config), last=len(turn))
            if cache:
                self._known.keep(prompt, cache, 0, torch.arange(len(prompt)))
            chances = torch.log_softmax(logits[0].float(), dim=-1)
            return -float(chances.gather(1, self._tensor([turn]).T).sum())

    def _step(self) -> None:
        try:
            if self._has_places():
                self._refill()
            else:
                self._advance()
        except Exception as error:
            if not _is_out_of_memory(error) or len(self._rows) <= 1:
                self._waiting.clear()
                self._clear()
                raise
            self._halve()

    def _has_places(self) -> bool:
        """Whether enough rows are done that it pays to copy the others, or a prompt has waited for long."""
        going = sum(not row.is_done for row in self._rows)
        if not going:
            return True
        if not self._joins:
            return False
        self._passes = self._passes + 1 if self._waiting and going < self.batch else 0
        return self._passes > LONGEST_WAIT or 4 * going <= 3 * min(
            self.batch, len(self._rows) + len(self._waiting)
        )

    def _refill(self) -> None:
        """Reads waiting prompts in the place of rows that are done."""
        self._passes = 0
        stay = [at for at, row in enumerate(self._rows) if not row.is_done]
        free = [at for at, row in enumerate(self._rows) if row.is_done]
        new = [self._waiting.popleft() for _ in range(min(self.batch - len(stay), len(self._waiting)))]
        before = self._rows
        self._rows = [before[at] for at in stay] + new  # all of them begin anew where reading fails
        if not self._rows:
            self._cache = None
        elif not self._joins:
            logits, self._cache, self._mask = self._read_padded(new)
            self._accept(new, logits)
        else:
            logits, held = self._read(new) if new else (torch.zeros(0), [])
            first = int(self._mask[stay].any(0).int().argmax()) if stay else 0
            longest = max((one.length for one in held), default=0)
            if len(free) == len(new) and longest <= self._mask.shape[1] and 4 * first <= self._mask.shape[1]:
                self._rows = before
                self._replace(free, new, held)
            else:
                self._rebuild(stay, first, held)
            if new:
                self._accept(new, logits)

    def _replace(self, places: Sequence[int], new: Sequence[Row], held: Sequence[Held]) -> None:
        """Puts new rows into the places of rows that are done: nothing else is copied."""
        for at, row, one in zip(places, new, held, strict=True):
            self._rows[at] = row
            self._mask[at] = 0
            self._mask[at, -one.length :] = 1
            for number, layer in enumerate(self._cache.layers):
                layer.put(at, one.states(number))

    def _rebuild(self, stay: Sequence[int], first: int, held: Sequence[Held]) -> None:
        """A new cache of the rows that stay, from their token `first` on, and of new ones."""
        rows = torch.tensor(stay, device=self.model.device, dtype=torch.long)
        kept = self._mask[stay][:, first:] if stay else None
        cache = join(held, (self._cache, rows, first) if stay else None)
        mask = self._tensor([[0] * cache.get_seq_length()] * len(self._rows))
        if kept is not None:
            mask[: len(stay), -kept.shape[1] :] = kept
        for at, one in enumerate(held, len(stay)):
            mask[at, -one.length :] = 1
        self._cache, self._mask = cache, mask

    def _advance(self) -> None:
        """Reads the last token of each row and a draft of the next, and accepts what the model chooses."""
        going = sum(not row.is_done for row in self._rows)
        drafting = self.model.device.type != "cpu" or going <= DRAFTED_ROWS
        unread = [row.unread(drafting) for row in self._rows]
        width = max(map(len, unread))
        ids = self._tensor([_padded(tokens, width) for tokens in unread])
        real = self._tensor([_padded([1] * len(tokens), width) for tokens in unread])
        self._mask = torch.cat([self._mask, real], dim=1)
        positions = (self._mask.cumsum(1) - 1)[:, -width:]
        logits = self._forward(
            ids, self._cache, last=width, attention_mask=self._mask, position_ids=positions
        )
        accepted = self._accept(self._rows, logits)
        if width > 1:  # what was not accepted stays in the cache, and is never seen again
            seen = [[at <= number for at in range(width)] for number in accepted]
            self._mask[:, -width:] *= self._tensor(seen)
        self._keep(unread)

    def _accept(self, rows: Sequence[Row], logits: torch.Tensor) -> list[int]:
        """Appends to each row what the model chose; returns how many tokens of its draft agreed."""
        chosen = choose(rows, logits)
        going = [not row.is_done for row in rows]
        accepted = [row.accept(tokens) for row, tokens in zip(rows, chosen, strict=True)]
        self._done += [row for row, was_going in zip(rows, going, strict=True) if was_going and row.is_done]
        return accepted

    def _keep(self, unread: Sequence[list[int]]) -> None:
        """Keeps what the rows that have just ended have read and written."""
        if not self._joins:
            return
        for at, row in enumerate(self._rows):
            if unread[at] and row.has_ended:
                places = self._mask[at].nonzero()[:, 0]
                self._known.keep(row.prompt + row.written[:-1], self._cache, at, places)

    def _read(self, rows: Sequence[Row]) -> tuple[torch.Tensor, list[Held]]:
        """The logits after each prompt, and where its tokens are held; equal prompts are read once."""
        unread = []
        for prompt in dict.fromkeys(tuple(row.prompt) for row in rows):
            cache = growing_cache(self.model.config)
            unread.append(_Unread(prompt, cache, self._known.take(prompt, cache)))
        read = {}
        for group in _groups(unread):
            logits, cache = self._read_group(group)
            for row, one in enumerate(group):
                held = Held(cache, row, len(one.prompt))
                end = cache.get_seq_length()
                self._known.keep(list(one.prompt), cache, row, torch.arange(end - held.length, end))
                read[one.prompt] = logits[row], held
        found = [read[tuple(row.prompt)] for row in rows]
        return torch.stack([logits for logits, _ in found]), [held for _, held in found]

    def _read_group(self, group: Sequence[_Unread]) -> tuple[torch.Tensor, Any]:
        """The logits after prompts that are read together: of each as many tokens as the longest rest has."""
        rest = max(one.rest for one in group)
        ids = self._tensor([one.prompt[-rest:] for one in group])
        if len(group) == 1:
            return self._forward(ids, group[0].cache), group[0].cache
        for one in group:
            one.cache.crop(one.rest - rest)
        lengths = [len(one.prompt) for one in group]
        cache = join([Held(one.cache, 0, len(one.prompt) - rest) for one in group])
        positions = self._tensor([list(range(length - rest, length)) for length in lengths])
        mask = self._mask_of(lengths)
        return self._forward(ids, cache, attention_mask=mask, position_ids=positions), cache

    def _read_padded(self, rows: Sequence[Row]) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """The same for prompts of a model whose cache cannot be joined: all in one pass, with padding."""
        cache = DynamicCache(config=self.model.config)
        mask = self._mask_of([len(row.prompt) for row in rows])
        ids = self._tensor([[0] * (mask.shape[1] - len(row.prompt)) + row.prompt for row in rows])
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        return self._forward(ids, cache, attention_mask=mask, position_ids=positions), cache, mask

    def _halve(self) -> None:
        """Begins all rows again, half as many at once."""
        self.batch = len(self._rows) // 2
        print(
            f"out of memory with {len(self._rows)} dialogs at once; from now on {self.batch} at once",
            file=sys.stderr,
            flush=True,
        )
        again = [row for row in self._rows if not row.is_done]
        for row in again:
            row.restart()
        self._waiting.extendleft(reversed(again))
        self._clear()

    def _clear(self) -> None:
        """Lets go of all rows and of what was kept."""
        self._rows, self._cache = [], None
        self._known.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _forward(self, ids: torch.Tensor, cache: Any, last: int = 1, **keywords: Any) -> torch.Tensor:
        """The logits after the `last` of `ids` (rows, tokens), which join the cache.

        Shape: (rows, last, vocabulary).
        """
        logits: torch.Tensor = self.model(
            input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=last, **keywords
        ).logits
        return logits[:, -last:]

    def _mask_of(self, lengths: Sequence[int]) -> torch.Tensor:
        """1 for each token of prompts of these lengths, which end together; 0 for the padding before them."""
        width = max(lengths)
        return self._tensor([[0] * (width - length) + [1] * length for length in lengths])

    def _tensor(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.tensor(rows, device=self.model.device)


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


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch has no class of its own for a CPU whose memory is used up."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)


def _padded(tokens: list[int], width: int) -> list[int]:
    return tokens + [0] * (width - len(tokens))

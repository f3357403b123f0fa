"""Keys and values of generation: memory with room for the next tokens, and prompts that are read once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from tutee_evaluator.engines.generator import KEPT_BYTES

ROOM = 64  # tokens that memory is taken for at once
BLOCK = 16  # tokens; a prefix is found by whole blocks


def growing_cache(config: Any) -> DynamicCache | None:
    """A cache for a model of `config` that does not copy what it holds for every new token.

    transformers' own does: with 32 dialogs of SmolLM2 on a CPU that is half the time of a token. A layer that
    attends to a window keeps all tokens, too: the model's mask hides those before it. None for models with
    layers of other kinds (state spaces, linear attention).
    """
    cache = DynamicCache(config=config)
    if not all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers):
        return None
    cache.layers = [GrowingLayer() for _ in cache.layers]
    return cache


def allows_gaps(config: Any) -> bool:
    """Whether a mask takes a token out of a cache as if it had never been there.

    Not in layers that attend to a window: its width counts what is masked. Nor in those that keep no tokens.
    """
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)


class GrowingLayer(DynamicLayer):
    """Keys and values of a layer: views (batch, heads, tokens, size) of memory that holds more tokens."""

    def hold(self, memory: Sequence[torch.Tensor], tokens: int) -> None:
        """Takes over the memory of keys and values, of which the first `tokens` are filled."""
        if not self.is_initialized:
            self.lazy_initialization(*memory)
        self._memory = list(memory)
        self.keys, self.values = (part[:, :, :tokens] for part in memory)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends the states of new tokens, of the same shape as the views; returns all."""
        if not self.is_initialized:
            self.hold([states[:, :, :0] for states in (key_states, value_states)], 0)
        before = self.get_seq_length()
        after = before + key_states.shape[2]
        for at, states in enumerate((key_states, value_states)):
            if after > self._memory[at].shape[2]:
                batch, heads, _tokens, size = states.shape
                larger = states.new_empty(batch, heads, after + ROOM, size)
                larger[:, :, :before] = self._memory[at][:, :, :before]
                self._memory[at] = larger
            self._memory[at][:, :, before:after] = states
        self.hold(self._memory, after)
        return self.keys, self.values

    def put(self, row: int, states: Sequence[torch.Tensor]) -> None:
        """Replaces the end of a row by keys and values (heads, tokens, size)."""
        end = self.get_seq_length()
        for memory, part in zip(self._memory, states, strict=True):
            memory[row, :, end - part.shape[1] : end] = part

    def reset(self) -> None:
        """Lets go of the memory."""
        super().reset()
        self._memory = []


@dataclass(frozen=True)
class Held:
    """A sequence of `length` tokens, with which a row of a cache ends."""

    cache: DynamicCache
    row: int
    length: int

    def states(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer, each (heads, tokens, size)."""
        layer = self.cache.layers[number]
        start = layer.get_seq_length() - self.length
        return layer.keys[self.row, :, start:], layer.values[self.row, :, start:]


Before = tuple[DynamicCache, torch.Tensor, int]


def join(sequences: Sequence[Held], before: Before | None = None) -> DynamicCache:
    """One cache, padded on the left, with a row for each sequence. Empties the caches they were in.

    `before`: a cache, those of its rows that come first, and how many of their tokens are left out at the
    beginning.
    """
    cache, rows, first = before or (sequences[0].cache, torch.zeros(0), 0)
    known = cache.get_seq_length() - first if before else 0
    width = max([known, *(held.length for held in sequences)])
    joined = DynamicCache()
    for number, layer in enumerate(cache.layers):
        memory = []
        for at, states in enumerate((layer.keys, layer.values)):
            _, heads, _, size = states.shape
            whole = states.new_zeros(len(rows) + len(sequences), heads, width + ROOM, size)
            if before:
                whole[: len(rows), :, width - known : width] = states[:, :, first:].index_select(0, rows)
            for place, held in zip(whole[len(rows) :], sequences, strict=True):
                place[:, width - held.length : width] = held.states(number)[at]
            memory.append(whole)
        for held in sequences:
            held.cache.layers[number].reset()
        joined.layers.append(GrowingLayer())
        joined.layers[-1].hold(memory, width)
    return joined


@dataclass(frozen=True)
class _Prefix:
    tokens: list[int]
    layers: list[tuple[torch.Tensor, ...]]

    @property
    def nbytes(self) -> int:
        return sum(keys.nbytes + values.nbytes for keys, values in self.layers)


class PrefixCache:
    """What a model has read and written: a prompt that begins with it need not be read from the start.

    Holds at most `capacity` bytes, those last used.
    """

    def __init__(self, capacity: int = KEPT_BYTES) -> None:
        self._capacity = capacity
        self.clear()

    def clear(self) -> None:
        """Lets go of everything."""
        self._kept: OrderedDict[int, _Prefix] = OrderedDict()  # by number, the last used at the end
        self._blocks: dict[Hashable, int] = {}  # the number of a prefix that begins with these blocks
        self._number = self._nbytes = 0

    def keep(self, tokens: list[int], cache: DynamicCache, row: int, places: torch.Tensor) -> None:
        """Keeps a copy of the states of `tokens`, which stand at `places` of a row of the cache."""
        if not self._capacity:
            return
        start, end = int(places[0]), int(places[-1]) + 1
        gapless = end - start == len(places)  # a copy of a slice is faster
        layers = [
            tuple(
                states[row : row + 1, :, start:end].clone() if gapless else states[row : row + 1, :, places]
                for states in (layer.keys, layer.values)
            )
            for layer in cache.layers
        ]
        prefix = _Prefix(tokens, layers)
        self._number += 1
        self._kept[self._number] = prefix
        self._nbytes += prefix.nbytes
        for block in _blocks(tokens):
            self._blocks[block] = self._number
        while self._nbytes > self._capacity:
            number, oldest = self._kept.popitem(last=False)
            self._nbytes -= oldest.nbytes
            for block in _blocks(oldest.tokens):
                if self._blocks.get(block) == number:
                    del self._blocks[block]

    def take(self, prompt: Sequence[int], cache: DynamicCache) -> int:
        """Fills an empty cache with the states of the prompt's beginning; returns how many tokens that is.

        At most all but the last one.
        """
        for at, block in reversed(list(enumerate(_blocks(prompt), 1))):
            number, known = self._blocks.get(block), at * BLOCK
            if number is None or self._kept[number].tokens[:known] != list(prompt[:known]):
                continue
            prefix = self._kept[number]
            self._kept.move_to_end(number)
            while known < min(len(prompt), len(prefix.tokens)) and prompt[known] == prefix.tokens[known]:
                known += 1
            known = min(known, len(prompt) - 1)
            for layer, (keys, values) in zip(cache.layers, prefix.layers, strict=True):
                layer.hold([keys[:, :, :known].clone(), values[:, :, :known].clone()], known)
            return known
        return 0


def _blocks(tokens: Sequence[int]) -> Iterator[Hashable]:
    """A hash for each whole number of blocks with which `tokens` begin."""
    before: Hashable = None
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        before = hash((before, *tokens[start : start + BLOCK]))
        yield before

"""Keys and values of generation: memory with room for the next tokens, and prompts that are read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

ROOM = 64  # tokens that memory is taken for at once
KEPT_BYTES = 4_000_000_000


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

    def reset(self) -> None:
        """Lets go of the memory."""
        super().reset()
        self._memory = []

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps the dialogs at `indices` only."""
        self.hold([memory[indices] for memory in self._memory], self.get_seq_length())


def join(dialogs: Sequence[tuple[DynamicCache, int]]) -> DynamicCache:
    """One cache, padded on the left, of dialogs that each end with a row of a cache. Empties those."""
    joined, width = DynamicCache(), max(cache.get_seq_length() for cache, _ in dialogs)
    for number in range(len(dialogs[0][0].layers)):
        layers = [(cache.layers[number], row) for cache, row in dialogs]
        memory = []
        for parts in (
            [layer.keys[row] for layer, row in layers],
            [layer.values[row] for layer, row in layers],
        ):
            heads, _, size = parts[0].shape
            whole = parts[0].new_zeros(len(parts), heads, width + ROOM, size)
            for place, part in zip(whole, parts, strict=True):
                place[:, width - part.shape[1] : width] = part
            memory.append(whole)
        for layer, _ in layers:
            layer.reset()
        joined.layers.append(GrowingLayer())
        joined.layers[-1].hold(memory, width)
    return joined


@dataclass(frozen=True)
class _Prefix:
    tokens: list[int]
    layers: list[tuple[torch.Tensor, torch.Tensor]]

    @property
    def nbytes(self) -> int:
        return sum(keys.nbytes + values.nbytes for keys, values in self.layers)


class PrefixCache:
    """What a model has read and written: the next prompt of a dialog begins with it and need not be read.

    Holds at most KEPT_BYTES.
    """

    def __init__(self) -> None:
        self._kept: list[_Prefix] = []

    def keep(self, tokens: list[int], cache: DynamicCache, row: int, places: torch.Tensor) -> None:
        """Keeps the states of `tokens`, which stand at `places` of a row of the cache."""
        layers = [
            (layer.keys[row : row + 1, :, places], layer.values[row : row + 1, :, places])
            for layer in cache.layers
        ]
        prefix = _Prefix(tokens, layers)
        if sum(kept.nbytes for kept in self._kept) + prefix.nbytes <= KEPT_BYTES:
            self._kept.append(prefix)

    def take(self, prompt: Sequence[int], cache: DynamicCache) -> int:
        """Fills an empty cache with the states of the prompt's beginning; returns how many tokens that is.

        At most all but the last one, and none where less than half of the prompt is known. What is taken is
        no longer kept.
        """
        shared = [_shared(kept.tokens, prompt) for kept in self._kept]
        most = max(shared, default=0)
        if 2 * most < len(prompt):
            return 0
        best = self._kept.pop(shared.index(most))
        tokens = min(most, len(prompt) - 1)
        for layer, memory in zip(cache.layers, best.layers, strict=True):
            layer.hold(memory, tokens)
        return tokens


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """The number of tokens with which both begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))

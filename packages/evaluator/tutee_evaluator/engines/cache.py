"""The cache of keys and values for generation, in memory that has room for the next tokens."""

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ROOM = 64  # tokens that memory is taken for at once


def growing_cache(config: Any) -> DynamicCache:
    """A cache for a model of `config` that does not copy what it holds for every new token.

    transformers' own does: with 32 dialogs of SmolLM2 on a CPU that is half the time of a token. Layers of
    other kinds than full attention stay transformers' own.
    """
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class GrowingLayer(DynamicLayer):
    """Keys and values of a layer: views (batch, heads, tokens, size) of memory that holds more tokens."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self._memory = [states[:, :, :0] for states in (key_states, value_states)]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends the states of new tokens, of the same shape as the views; returns all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[2]
        for at, states in enumerate((key_states, value_states)):
            if after > self._memory[at].shape[2]:
                batch, heads, _tokens, size = states.shape
                larger = states.new_empty(batch, heads, after + ROOM, size)
                larger[:, :, :before] = self._memory[at][:, :, :before]
                self._memory[at] = larger
            self._memory[at][:, :, before:after] = states
        self.keys, self.values = (memory[:, :, :after] for memory in self._memory)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps the dialogs at `indices` only."""
        length = self.get_seq_length()
        self._memory = [memory[indices] for memory in self._memory]
        self.keys, self.values = (memory[:, :, :length] for memory in self._memory)

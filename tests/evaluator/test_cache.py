"""The cache of generation holds what transformers' own holds, token by token and row by row."""

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, MistralConfig

from tutee_evaluator.engines.cache import ROOM, GrowingLayer, growing_cache

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE)).eval()


def test_logits_are_those_of_the_copying_cache_while_rows_end(model: LlamaForCausalLM) -> None:
    torch.manual_seed(1)
    caches = [growing_cache(model.config), DynamicCache(config=model.config)]
    ids = torch.randint(0, 61, (3, 5))
    with torch.inference_mode():
        for step in range(2 * ROOM):  # memory is taken anew twice
            ours, theirs = (model(input_ids=ids, past_key_values=cache).logits for cache in caches)
            torch.testing.assert_close(ours, theirs)
            ids = torch.randint(0, 61, (len(ids), 1))
            if step in (1, ROOM):
                keep = torch.arange(1, len(ids))
                for cache in caches:
                    cache.batch_select_indices(keep)
                ids = ids[keep]
    assert len(ids) == 1


def test_a_new_token_copies_nothing(model: LlamaForCausalLM) -> None:
    cache = growing_cache(model.config)
    ids = torch.randint(0, 61, (2, 5))
    with torch.inference_mode():
        model(input_ids=ids, past_key_values=cache)
        places = [layer.keys.data_ptr() for layer in cache.layers]
        model(input_ids=ids[:, :1], past_key_values=cache)
    assert [layer.keys.data_ptr() for layer in cache.layers] == places


def test_layers_with_a_window_stay_transformers_own() -> None:
    windowed = growing_cache(MistralConfig(**SHAPE, sliding_window=8))
    assert not any(isinstance(layer, GrowingLayer) for layer in windowed.layers)

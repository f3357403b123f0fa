"""The cache of generation holds what transformers' own holds, token by token and row by row."""

import pytest
import torch
from transformers import (
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3NextConfig,
)

from tutee_evaluator.engines import cache as module
from tutee_evaluator.engines.cache import ROOM, PrefixCache, growing_cache, join

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


def test_a_window_of_attention_is_kept_to() -> None:
    torch.manual_seed(0)
    windowed = MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=8)).eval()
    caches = [growing_cache(windowed.config), DynamicCache(config=windowed.config)]
    ids = torch.randint(0, 61, (2, 20))
    with torch.inference_mode():
        for _ in range(3):
            ours, theirs = (windowed(input_ids=ids, past_key_values=cache).logits for cache in caches)
            torch.testing.assert_close(ours, theirs)
            ids = torch.randint(0, 61, (2, 1))


def test_models_with_other_layers_have_no_growing_cache() -> None:
    hybrid = Qwen3NextConfig(**SHAPE, layer_types=["linear_attention", "full_attention"])
    assert growing_cache(hybrid) is None


def read(model: LlamaForCausalLM, tokens: list[int], cache: DynamicCache) -> torch.Tensor:
    """The logits after the last token."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([tokens]), past_key_values=cache).logits[:, -1]


def test_joined_dialogs_go_on_as_they_would_alone(model: LlamaForCausalLM) -> None:
    prompts = [list(range(3, 30)), list(range(40, 45)), [7]]
    alone, parts = ([growing_cache(model.config) for _ in prompts] for _ in range(2))
    for prompt, one, part in zip(prompts, alone, parts, strict=True):
        read(model, prompt, one)
        read(model, prompt, part)
    mask = torch.zeros(3, 28, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        mask[row, 27 - len(prompt) :] = 1
    with torch.inference_mode():
        together = model(
            input_ids=torch.tensor([[9], [9], [9]]),
            past_key_values=join([(part, 0) for part in parts]),
            attention_mask=mask,
            position_ids=torch.tensor([[len(prompt)] for prompt in prompts]),
        ).logits[:, -1]
    for row, one in enumerate(alone):
        torch.testing.assert_close(together[row : row + 1], read(model, [9], one))


@pytest.fixture
def known(model: LlamaForCausalLM) -> PrefixCache:
    """Two dialogs of 20 tokens, which differ from their tenth token on."""
    prefixes = PrefixCache()
    for start in (10, 30):
        tokens = [*range(10), *range(start, start + 10)]
        cache = growing_cache(model.config)
        read(model, tokens, cache)
        prefixes.keep(tokens, cache, row=0, places=torch.arange(len(tokens)))
    return prefixes


def test_a_prompt_goes_on_from_the_longest_known_prefix(model: LlamaForCausalLM, known: PrefixCache) -> None:
    prompt = [*range(10), *range(30, 38), 55, 56, 57]
    cache = growing_cache(model.config)
    assert known.take(prompt, cache) == 18
    whole = read(model, prompt, growing_cache(model.config))
    torch.testing.assert_close(read(model, prompt[18:], cache), whole)


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ([*range(20)], 19),  # the last one has to be read: the model answers to it
        ([*range(12)], 11),
        ([*range(10), 60, 60, 60], 10),
        ([*range(10), *[60] * 11], 0),  # less than half
        ([5, 6, 7], 0),
    ],
)
def test_how_much_of_a_prompt_is_known(
    model: LlamaForCausalLM, known: PrefixCache, prompt: list[int], tokens: int
) -> None:
    assert known.take(prompt, growing_cache(model.config)) == tokens


def test_what_was_taken_is_no_longer_kept(model: LlamaForCausalLM, known: PrefixCache) -> None:
    prompt = list(range(20))
    assert [known.take(prompt, growing_cache(model.config)) for _ in range(3)] == [19, 10, 0]


def test_no_more_is_kept_than_memory_is_granted(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = growing_cache(model.config)
    read(model, list(range(8)), cache)
    one = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    monkeypatch.setattr(module, "KEPT_BYTES", 2 * one)
    prefixes = PrefixCache()
    for _ in range(3):
        prefixes.keep(list(range(8)), cache, row=0, places=torch.arange(8))
    taken = [prefixes.take(list(range(8)), growing_cache(model.config)) for _ in range(3)]
    assert taken == [7, 7, 0]

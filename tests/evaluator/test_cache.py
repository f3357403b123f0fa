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

from tutee_evaluator.engines.cache import BLOCK, ROOM, Held, PrefixCache, growing_cache, join

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


def test_logits_are_those_of_the_copying_cache(model: LlamaForCausalLM) -> None:
    torch.manual_seed(1)
    caches = [growing_cache(model.config), DynamicCache(config=model.config)]
    ids = torch.randint(0, 61, (3, 5))
    with torch.inference_mode():
        for _ in range(2 * ROOM):  # memory is taken anew twice
            ours, theirs = (model(input_ids=ids, past_key_values=cache).logits for cache in caches)
            torch.testing.assert_close(ours, theirs)
            ids = torch.randint(0, 61, (len(ids), 1))


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
            past_key_values=join(
                [Held(part, 0, len(prompt)) for part, prompt in zip(parts, prompts, strict=True)]
            ),
            attention_mask=mask,
            position_ids=torch.tensor([[len(prompt)] for prompt in prompts]),
        ).logits[:, -1]
    for row, one in enumerate(alone):
        torch.testing.assert_close(together[row : row + 1], read(model, [9], one))


def test_rows_that_stay_go_on_beside_new_ones(model: LlamaForCausalLM) -> None:
    """The padding that all of them have is left out."""
    prompts = [[5, 6, 7, 8], [9, 1], [3, 4, 5]]
    old, mask = growing_cache(model.config), torch.tensor([[0] + [1] * 4, [1] * 5, [0] * 3 + [1] * 2])
    padded = [[0, *prompts[0]], [1] * 5, [0, 0, 0, *prompts[1]]]
    with torch.inference_mode():
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        model(
            input_ids=torch.tensor(padded), past_key_values=old, attention_mask=mask, position_ids=positions
        )
    new = growing_cache(model.config)
    read(model, prompts[2], new)
    joined = join([Held(new, 0, 3)], (old, torch.tensor([0, 2]), 1))
    assert joined.get_seq_length() == 4
    with torch.inference_mode():
        together = model(
            input_ids=torch.tensor([[9]] * 3),
            past_key_values=joined,
            attention_mask=torch.tensor([[1] * 5, [0, 0, 1, 1, 1], [0, 1, 1, 1, 1]]),
            position_ids=torch.tensor([[4], [2], [3]]),
        ).logits[:, -1]
    for row, prompt in enumerate(prompts):
        alone = growing_cache(model.config)
        read(model, prompt, alone)
        torch.testing.assert_close(together[row : row + 1], read(model, [9], alone))


def test_a_kept_prefix_leaves_gaps_out(model: LlamaForCausalLM) -> None:
    tokens = list(range(BLOCK + 2))
    cache, mask = growing_cache(model.config), torch.tensor([[1] * BLOCK + [0, 0, 1, 1]])
    with torch.inference_mode():
        model(
            input_ids=torch.tensor([[*tokens[:BLOCK], 50, 51, *tokens[BLOCK:]]]),
            past_key_values=cache,
            attention_mask=mask,
            position_ids=mask.cumsum(1) - 1,
        )
    prefixes = PrefixCache()
    prefixes.keep(tokens, cache, 0, mask[0].nonzero()[:, 0])
    taken, plain = growing_cache(model.config), growing_cache(model.config)
    assert prefixes.take([*tokens, 9], taken) == len(tokens)
    read(model, tokens, plain)
    torch.testing.assert_close(read(model, [9], taken), read(model, [9], plain))


SHARED = 2 * BLOCK + 3


@pytest.fixture
def known(model: LlamaForCausalLM) -> PrefixCache:
    """Two dialogs that begin with SHARED same tokens and have 20 of their own."""
    prefixes = PrefixCache()
    for own in (40, 20):
        tokens = [*range(SHARED), *range(own, own + 20)]
        cache = growing_cache(model.config)
        read(model, tokens, cache)
        prefixes.keep(tokens, cache, 0, torch.arange(len(tokens)))
    return prefixes


@pytest.mark.parametrize("own", [40, 20])
def test_a_prompt_goes_on_from_the_longest_known_prefix(
    model: LlamaForCausalLM, known: PrefixCache, own: int
) -> None:
    prompt = [*range(SHARED), *range(own, own + 15), 5, 6, 7]
    for _ in range(2):  # what was read on from a prefix does not change it
        cache = growing_cache(model.config)
        assert known.take(prompt, cache) == SHARED + 15
        whole = read(model, prompt, growing_cache(model.config))
        torch.testing.assert_close(read(model, prompt[SHARED + 15 :], cache), whole)


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ([*range(SHARED)], SHARED - 1),  # the last one has to be read: the model answers to it
        ([*range(BLOCK)], BLOCK - 1),
        ([*range(SHARED), 60, 60, 60], SHARED),
        ([*range(BLOCK - 1), 60, 60], 0),  # less than a block
        ([60, *range(SHARED)], 0),
        ([5, 6, 7], 0),
    ],
)
def test_how_much_of_a_prompt_is_known(
    model: LlamaForCausalLM, known: PrefixCache, prompt: list[int], tokens: int
) -> None:
    assert known.take(prompt, growing_cache(model.config)) == tokens


def test_what_was_used_last_is_kept_in_the_memory_granted(model: LlamaForCausalLM) -> None:
    prompts = [[number] * (BLOCK + 1) for number in range(3)]
    caches = []
    for prompt in prompts:
        caches.append(growing_cache(model.config))
        read(model, prompt, caches[-1])
    one = sum(layer.keys.nbytes + layer.values.nbytes for layer in caches[0].layers)
    prefixes = PrefixCache(capacity=2 * one)
    for number in (0, 1):
        prefixes.keep(prompts[number], caches[number], 0, torch.arange(BLOCK + 1))
    prefixes.take(prompts[0], growing_cache(model.config))
    prefixes.keep(prompts[2], caches[2], 0, torch.arange(BLOCK + 1))

    taken = [prefixes.take(prompt, growing_cache(model.config)) for prompt in prompts]
    assert taken == [BLOCK, 0, BLOCK]

"""Drafts of the next tokens: where they come from, and that they change nothing in what is written."""

from collections.abc import Sequence
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from tutee_evaluator.engines.drafts import NGRAM_SIZES, NUM_DRAFT_TOKENS, PromptLookup
from tutee_evaluator.engines.generation import BatchGenerator

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.5,  # else all tokens are as likely
}
END = 37  # which the model of model_of() writes after the first two prompts
LIMIT = 24
VOCABULARY = 40
PROMPTS = [[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8], [1, 4, 1, 4, 2, 1, 3]]


def model_of(window: int | None = None) -> LlamaForCausalLM | MistralForCausalLM:
    torch.manual_seed(0)
    if window is None:
        return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **SHAPE)).eval()
    return MistralForCausalLM(MistralConfig(vocab_size=VOCABULARY, sliding_window=window, **SHAPE)).eval()


def written_without_drafts(model: LlamaForCausalLM | MistralForCausalLM) -> list[list[int]]:
    """What transformers writes greedily, up to END or LIMIT."""
    written = []
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        keywords = {"attention_mask": torch.ones_like(ids), "eos_token_id": END, "pad_token_id": END}
        whole = model.generate(ids, do_sample=False, max_new_tokens=LIMIT, **keywords)
        written.append(whole[0, len(prompt) :].tolist())
    return written


def generate(
    generator: BatchGenerator, prompts: Sequence[list[int]], temperature: float = 0.0
) -> list[list[int]]:
    """The tokens after each prompt; each is drawn with a seed of its own."""
    for number, prompt in enumerate(prompts):
        generator.add(number, prompt, temperature, seed=number)
    done = dict(generator.collect_all())
    return [done[number] for number in range(len(prompts))]


def draft_half_right(
    monkeypatch: pytest.MonkeyPatch, written: Sequence[list[int]], right: int
) -> list[list[int]]:
    """Makes every draft the next `right` tokens of those that will be written, and then wrong ones.

    Returns the drafts, as they are made.
    """
    sequences = [prompt + rest for prompt, rest in zip(PROMPTS, written, strict=True)]
    drafts = []

    def draft(lookup: PromptLookup) -> list[int]:
        known = lookup._tokens
        coming = next(tokens for tokens in sequences if tokens[: len(known)] == known)[len(known) :]
        drafts.append([*coming[:right], *((token + 1) % VOCABULARY for token in coming[right:])])
        return drafts[-1]

    monkeypatch.setattr(PromptLookup, "draft", draft)
    return drafts


SEGMENTS = [[1] * 7, list(range(15)), [5, 6, 1, 2], [1, 2, 0]]


@given(st.lists(st.sampled_from(SEGMENTS), max_size=8).map(lambda segments: list(chain(*segments))))
def test_a_draft_is_what_followed_the_longest_ngram_at_its_latest_place(tokens: list[int]) -> None:
    expected: list[int] = []
    for length in sorted(NGRAM_SIZES):
        context = tokens[-length:]
        for place in range(length, len(tokens)):
            if tokens[place - length : place] == context:
                expected = tokens[place : place + NUM_DRAFT_TOKENS]

    assert PromptLookup(tokens).draft() == expected


@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 2), max_size=40))
def test_tokens_may_come_one_after_the_other(first: list[int], then: list[int]) -> None:
    lookup = PromptLookup(first)
    for token in then:
        lookup.extend([token])

    assert lookup.draft() == PromptLookup(first + then).draft()


@pytest.mark.parametrize("right", [0, 1, 4, LIMIT])
def test_wrong_drafts_and_right_ones_change_nothing(monkeypatch: pytest.MonkeyPatch, right: int) -> None:
    """Nor does what stays of them in the cache, in this call and in the next one, which goes on from it."""
    model = model_of()
    written = written_without_drafts(model)
    assert any(rest[-1] == END and len(rest) > 5 for rest in written), "nothing to go on from"
    drafts = draft_half_right(monkeypatch, written, right)
    generator = BatchGenerator(model, END, LIMIT, batch=3)
    assert generate(generator, PROMPTS) == written
    assert drafts

    monkeypatch.undo()
    longer = [prompt + rest + [5, 6, 7] for prompt, rest in zip(PROMPTS, written, strict=True)]
    fresh = BatchGenerator(model, END, LIMIT, batch=3)
    assert generate(generator, longer) == generate(fresh, longer)


def test_right_drafts_save_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    written = written_without_drafts(model)
    draft_half_right(monkeypatch, written, NUM_DRAFT_TOKENS)
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    generator = BatchGenerator(model, END, LIMIT, batch=1)
    assert generate(generator, PROMPTS) == written
    assert len(passes) <= len(PROMPTS) * (1 + -(-LIMIT // (1 + NUM_DRAFT_TOKENS)))


def test_tokens_are_drawn_as_often_as_the_model_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second and the third token, where the second was drafted and where it was not."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=5, **SHAPE)).eval()
    prompt, samples = [1, 3, 2, 4], 4000
    monkeypatch.setattr(PromptLookup, "draft", lambda _: [2, 1])
    generator = BatchGenerator(model, -1, 3, batch=samples)
    drawn = torch.tensor(generate(generator, [prompt] * samples, temperature=2.0))
    counts = torch.zeros(5, 5)
    for _first, second, third in drawn.tolist():
        counts[second, third] += 1

    places = torch.cartesian_prod(*[torch.arange(5)] * 3)
    ids = torch.cat([torch.tensor(prompt).expand(125, -1), places], dim=1)
    with torch.inference_mode():
        chances = torch.softmax(model(ids).logits[:, 3:6] / 2.0, dim=-1)
    joint = chances.gather(2, places[:, :, None]).prod(dim=1).view(5, 5, 5).sum(0)

    assert counts[2].sum() > 100 and counts.sum() - counts[2].sum() > 100
    assert chisquare(counts.flatten(), joint.flatten() * samples).pvalue > 0.01


def test_nothing_is_drafted_where_attention_has_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stays of a draft would take the place of tokens in it."""
    model = model_of(window=8)
    written = written_without_drafts(model)
    draft_half_right(monkeypatch, written, right=2)
    generator = BatchGenerator(model, END, LIMIT, batch=3)
    assert generate(generator, PROMPTS) == written


def test_no_position_is_read_that_a_whole_turn_would_not_have() -> None:
    """A model with learned positions has none after the longest turn."""
    longest = max(map(len, PROMPTS))
    torch.manual_seed(0)
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 5, "bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(n_positions=longest + LIMIT, **shape)).eval()
    prompts = [[token % 5 for token in prompt] for prompt in PROMPTS]
    generator = BatchGenerator(model, -1, LIMIT, batch=16)
    written = generate(generator, prompts * 5, temperature=1.0)
    assert {len(tokens) for tokens in written} == {LIMIT}

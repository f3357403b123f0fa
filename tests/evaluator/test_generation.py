"""Prompts come and go at any time, and memory may run out: each is continued as it would be alone."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3NextConfig, Qwen3NextForCausalLM

from tutee_evaluator.engines import generation
from tutee_evaluator.engines.generation import BatchGenerator

END, LIMIT = 37, 24
SHAPE = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.5,  # else all tokens are as likely
}
PROMPTS = [[(3 * row + at * at) % 36 for at in range(2 + 3 * row % 17)] for row in range(24)]


@pytest.fixture(scope="module")
def model(one_thread: None) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE)).eval()


def alone(model: Any, temperature: float = 0.0) -> dict[int, list[int]]:
    written = {}
    for number, prompt in enumerate(PROMPTS):
        generator = BatchGenerator(model, END, LIMIT, batch=1)
        generator.add(number, prompt, temperature, seed=number)
        written.update(generator.collect_all())
    return written


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_prompts_that_come_while_others_are_written_are_continued_as_alone(
    model: LlamaForCausalLM, temperature: float
) -> None:
    generator = BatchGenerator(model, END, LIMIT, batch=5)
    waiting = iter(enumerate(PROMPTS))
    written: dict[int, list[int]] = {}

    def add(count: int) -> None:
        for number, prompt in islice(waiting, count):
            generator.add(number, prompt, temperature, seed=number)

    add(3)
    while done := generator.collect():
        assert not written.keys() & dict(done).keys()
        written.update(done)
        add(2)

    expected = alone(model, temperature)
    assert written == expected
    lengths = {len(tokens) for tokens in expected.values()}
    assert LIMIT in lengths and len(lengths) > 3, "all turns end together: no place becomes free"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_prompts_that_are_cancelled_are_never_done_and_change_nothing(
    model: LlamaForCausalLM, temperature: float
) -> None:
    generator = BatchGenerator(model, END, LIMIT, batch=5)
    for number, prompt in enumerate(PROMPTS):
        generator.add(number, prompt, temperature, seed=number)
    for _ in range(3):
        generator.step()
    cancelled = {1, 3, 20}  # of the first five, which are being written, and of those that wait
    assert all(generator.written(number) for number in (1, 3))
    for number in cancelled:
        generator.cancel(number)
    generator.cancel(99)

    written = dict(generator.collect_all())

    expected = alone(model, temperature)
    assert written == {number: expected[number] for number in expected.keys() - cancelled}


def test_what_is_being_written_is_the_beginning_of_what_is_written(model: LlamaForCausalLM) -> None:
    generator = BatchGenerator(model, END, LIMIT, batch=8)
    for number, prompt in enumerate(PROMPTS[:4]):
        generator.add(number, prompt, 1.0, seed=number)
    seen: dict[int, list[list[int]]] = {number: [] for number in range(4)}
    done: dict[int, list[int]] = {}
    while len(done) < 4:
        done |= {written.key: written.tokens for written in generator.step()}
        for number in seen.keys() - done.keys():
            seen[number].append(list(generator.written(number)))
    for number, beginnings in seen.items():
        assert all(done[number][: len(one)] == one for one in beginnings)
        assert sorted(map(len, beginnings)) == list(map(len, beginnings)) and beginnings[-1]


def test_a_prompts_own_limit_cuts_what_is_written(model: LlamaForCausalLM) -> None:
    expected = alone(model, 1.0)
    generator = BatchGenerator(model, END, LIMIT, batch=5)
    for number, prompt in enumerate(PROMPTS):
        generator.add(number, prompt, 1.0, number, limit=number + 1)
    written = dict(generator.collect_all())
    assert written == {number: tokens[: number + 1] for number, tokens in expected.items()}


def test_a_prompt_waits_for_few_passes_while_there_is_room(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though fewer of the others are done than it takes to have them all copied at once."""
    monkeypatch.setattr(generation, "LONGEST_WAIT", 2)
    generator = BatchGenerator(model, -1, LIMIT, batch=16)
    for number in range(8):
        generator.add(number, PROMPTS[number])
    generator.step()
    generator.add(8, PROMPTS[8])
    for _ in range(4):
        generator.step()
    assert len(generator.written(8)) > 0


@pytest.mark.parametrize("temperature", [0.0, 1.7])
def test_the_log_likelihoods_are_those_of_one_pass(model: LlamaForCausalLM, temperature: float) -> None:
    generator = BatchGenerator(model, END, LIMIT, batch=5)
    for number, prompt in enumerate(PROMPTS):
        generator.add(number, prompt, temperature, number, logprobs=number % 2 == 0)
    found = {}
    while len(found) < len(PROMPTS):
        found |= {written.key: written for written in generator.step()}
    scorer = BatchGenerator(model, END, LIMIT, batch=1)
    for number, written in found.items():
        if number % 2:
            assert written.logprobs == []
        else:
            assert len(written.logprobs) == len(written.tokens)
            nats = scorer.score(PROMPTS[number], written.tokens)
            assert sum(written.logprobs) == pytest.approx(-nats, abs=1e-3)


def test_places_that_become_free_are_taken(model: LlamaForCausalLM) -> None:
    """In a batch of 8, the passes are far fewer than if each batch waited for its longest turn."""
    rows: list[int] = []
    handle = model.register_forward_pre_hook(
        lambda _, __, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    generator = BatchGenerator(model, END, LIMIT, batch=8)
    for number, prompt in enumerate(PROMPTS * 3):
        generator.add(number, prompt, 1.0, seed=number)
    lengths = [len(tokens) for _, tokens in generator.collect_all()]
    handle.remove()

    steps = [count for count in rows if count > 1]
    fixed = sum(max(lengths[at : at + 8]) for at in range(0, len(lengths), 8))
    assert sum(lengths) / 8 <= len(steps) + 8 < fixed


def test_a_model_whose_states_cannot_be_joined_writes_what_it_writes_alone() -> None:
    torch.manual_seed(0)
    config = Qwen3NextConfig(
        **SHAPE,
        layer_types=["linear_attention", "full_attention"],
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        head_dim=8,
    )
    hybrid = Qwen3NextForCausalLM(config).eval()
    same_length = [prompt for prompt in PROMPTS if len(prompt) == len(PROMPTS[1])]
    generators = [BatchGenerator(hybrid, END, 6, batch=batch) for batch in (1, 2)]
    written = []
    for generator in generators:
        for number, prompt in enumerate(same_length):
            generator.add(number, prompt)
        written.append(dict(generator.collect_all()))
    assert written[0] == written[1]


class Full:
    """A model that runs out of memory with more than `most` rows, as PyTorch says so on a CPU or on a GPU."""

    def __init__(self, model: Any, most: int, error: Exception) -> None:
        self.config, self.device = model.config, model.device
        self._model, self._most, self._error = model, most, error

    def __call__(self, input_ids: torch.Tensor, **keywords: Any) -> Any:
        if len(input_ids) > self._most:
            raise self._error
        return self._model(input_ids=input_ids, **keywords)


OUT_OF_MEMORY = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["gpu", "cpu"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_out_of_memory_halves_the_batch_and_changes_nothing(
    model: LlamaForCausalLM, error: Exception, temperature: float, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = BatchGenerator(Full(model, 5, error), END, LIMIT, batch=16)
    for number, prompt in enumerate(PROMPTS):
        generator.add(number, prompt, temperature, seed=number)
    assert dict(generator.collect_all()) == alone(model, temperature)
    assert generator.batch == 4
    said = capsys.readouterr().err
    assert "out of memory with 16 dialogs at once; from now on 8 at once" in said
    assert "out of memory with 8 dialogs at once; from now on 4 at once" in said


def test_a_single_prompt_that_does_not_fit_raises_and_leaves_nothing_behind(model: LlamaForCausalLM) -> None:
    full = Full(model, 0, OUT_OF_MEMORY[0])
    generator = BatchGenerator(full, END, LIMIT, batch=1)
    generator.add(0, PROMPTS[0])
    with pytest.raises(torch.cuda.OutOfMemoryError):
        generator.collect()
    full._most = 1
    generator.add(1, PROMPTS[1])
    assert dict(generator.collect_all()) == {1: alone(model)[1]}


def test_another_error_is_no_lack_of_memory(model: LlamaForCausalLM) -> None:
    generator = BatchGenerator(Full(model, 0, RuntimeError("shapes differ")), END, LIMIT, batch=4)
    for number, prompt in enumerate(PROMPTS):
        generator.add(number, prompt)
    with pytest.raises(RuntimeError, match="shapes differ"):
        generator.collect()


def continuations(model: Any, prompts: list[list[int]]) -> Iterator[int]:
    """The tokens read of each prompt, one after the other, by a generator that keeps what it has read."""
    generator = BatchGenerator(model, END, LIMIT, batch=1)
    for number, prompt in enumerate(prompts):
        read: list[int] = []
        forward = generator._forward
        generator._forward = lambda ids, *rest, forward=forward, read=read, **keywords: (  # type: ignore[method-assign]
            read.append(ids.shape[1]) or forward(ids, *rest, **keywords)
        )
        generator.add(number, prompt)
        list(generator.collect_all())
        generator._forward = forward  # type: ignore[method-assign]
        yield read[0]


def test_what_two_prompts_begin_with_is_read_once(model: LlamaForCausalLM) -> None:
    shared = [(at * 7) % 36 for at in range(40)]
    prompts = [[*shared, 1, 2, 3], [*shared, 5, 6], shared, [9, *shared]]
    assert list(continuations(model, prompts)) == [43, 2, 1, 41]

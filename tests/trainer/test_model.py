"""The tiny tokenizer and the chat template: what is a token, and where the loss stands."""

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from tutee_serializer.dialogs.formats import markers
from tutee_trainer.conversations import Conversation
from tutee_trainer.initialisation import lay_induction
from tutee_trainer.model import END, new_model, train_tokenizer
from tutee_trainer.preset import Preset

PROGRAMS = [("def double(n):\n    print(n)\n", 0.0), ("def double(n):\n    return n * 2\n", 100.0)]


@pytest.fixture(scope="module")
def tokenizer(preset: Preset, conversation: Callable[..., Conversation]) -> PreTrainedTokenizerBase:
    return train_tokenizer(preset, [message["content"] for message in conversation(PROGRAMS).messages])


def test_each_marker_is_one_token_that_survives_decoding(tokenizer: PreTrainedTokenizerBase) -> None:
    for marker in markers("edits"):
        ids = tokenizer.encode(f"x{marker}y", add_special_tokens=False)
        assert len(ids) == 3, marker
        assert tokenizer.decode(ids, skip_special_tokens=True) == f"x{marker}y"


def test_the_vocabulary_is_no_larger_than_asked(tokenizer: PreTrainedTokenizerBase, preset: Preset) -> None:
    assert preset.tokenizer is not None
    assert len(tokenizer) <= preset.tokenizer.vocabulary


@pytest.mark.parametrize("text", ["a\tb  c\n\n        é ∑ 🐍\r\n", "if x<|y:", "x = '<|endoftext|'", "  "])
def test_any_text_comes_back_exactly(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_the_loss_stands_on_what_the_student_writes_and_the_end_mark(
    tokenizer: PreTrainedTokenizerBase, conversation: Callable[..., Conversation]
) -> None:
    messages = list(conversation(PROGRAMS).messages)
    encoded = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    spans: list[list[int]] = [[]]
    for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True):
        if mask:
            spans[-1].append(token)
        elif spans[-1]:
            spans.append([])
    written = [tokenizer.decode(span) for span in spans if span]
    assert written == [m["content"] + END for m in messages if m["role"] == "assistant"]


def test_a_generation_prompt_is_what_comes_before_the_students_turn(
    tokenizer: PreTrainedTokenizerBase, conversation: Callable[..., Conversation]
) -> None:
    messages = list(conversation(PROGRAMS).messages)
    whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    prompt = tokenizer.apply_chat_template(
        messages[:-1], tokenize=True, add_generation_prompt=True, return_dict=False
    )
    answer = tokenizer.encode(messages[-1]["content"] + END + "\n", add_special_tokens=False)
    assert prompt + answer == whole


@pytest.mark.parametrize("format", ["edits", "code", "dual"])
def test_an_end_mark_in_a_program_does_not_end_a_turn(
    tokenizer: PreTrainedTokenizerBase, conversation: Callable[..., Conversation], format: str
) -> None:
    programs = [(f"print('{END}')\n<|im_start|>user\n", 0.0), (f"print('{END}', 1)\n", 0.0)]
    messages = list(conversation(programs, format=format).messages)
    ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert ids.count(tokenizer.eos_token_id) == len(messages)
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == len(messages)


@pytest.mark.parametrize("shape", [(128, 2, 2, 64), (128, 4, 2, 32), (192, 3, 3, 64)])
def test_a_new_model_copies_what_it_saw_before(shape: tuple[int, int, int, int]) -> None:
    """Random tokens, twice: after the second token of the repeat, the next is the one it saw."""
    width, heads, kv_heads, size = shape
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=500, hidden_size=width, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=size, tie_word_embeddings=True,
        max_position_embeddings=512, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).eval()
    once = torch.randint(0, 500, (2, 100))

    def copied() -> float:
        with torch.inference_mode():
            likeliest = model(input_ids=torch.cat([once, once], 1)).logits.argmax(-1)
        return (likeliest[:, 101:-1] == once[:, 2:]).float().mean().item()

    assert copied() < 0.1
    assert lay_induction(model)
    assert copied() > 0.95


def test_a_model_too_small_to_copy_is_left_alone(preset: Preset, tokenizer: PreTrainedTokenizerBase) -> None:
    model = new_model(preset, tokenizer)
    assert not lay_induction(model)
    assert model.model.layers[0].mlp.down_proj.weight.abs().sum() > 0

"""The tiny tokenizer and the chat template: what is a token, and which tokens the loss is on."""

from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerBase

from tutee_serializer.dialogs import tokens
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import markers
from tutee_serializer.dialogs.tokens import TokenCounter
from tutee_trainer.chat import END
from tutee_trainer.preset import Preset
from tutee_trainer.tiny.tokenizer import train_tokenizer

PROGRAMS = [("def double(n):\n    print(n)\n", 0.0), ("def double(n):\n    return n * 2\n", 100.0)]


@pytest.fixture(scope="module")
def tokenizer(preset: Preset, make_dialog: Callable[..., Dialog]) -> PreTrainedTokenizerBase:
    return train_tokenizer(preset, [message["content"] for message in make_dialog(PROGRAMS).messages])


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


def test_the_loss_is_on_what_the_student_writes_and_the_end_mark(
    tokenizer: PreTrainedTokenizerBase, make_dialog: Callable[..., Dialog]
) -> None:
    messages = make_dialog(PROGRAMS).messages
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
    tokenizer: PreTrainedTokenizerBase, make_dialog: Callable[..., Dialog]
) -> None:
    messages = make_dialog(PROGRAMS).messages
    whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    prompt = tokenizer.apply_chat_template(
        messages[:-1], tokenize=True, add_generation_prompt=True, return_dict=False
    )
    answer = tokenizer.encode(messages[-1]["content"] + END + "\n", add_special_tokens=False)
    assert prompt + answer == whole


@pytest.mark.parametrize("format", ["edits", "code", "dual"])
def test_an_end_mark_in_a_program_does_not_end_a_turn(
    tokenizer: PreTrainedTokenizerBase, make_dialog: Callable[..., Dialog], format: str
) -> None:
    programs = [(f"print('{END}')\n<|im_start|>user\n", 0.0), (f"print('{END}', 1)\n", 0.0)]
    messages = make_dialog(programs, format=format).messages
    ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert ids.count(tokenizer.eos_token_id) == len(messages)
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == len(messages)


def test_turns_counted_together_count_as_they_do_alone(
    make_dialog: Callable[..., Dialog], tokenizer: PreTrainedTokenizerBase
) -> None:
    dialog = make_dialog([("def f(n):\n    return n\n", 0.0), ("def f(n):\n    return  n + 1\n\n", 100.0)])
    assert tokens._cuts_at_lines(tokenizer.backend_tokenizer)
    count = TokenCounter(tokenizer, (message["content"] for message in dialog.messages))
    markup = "<|im_start|>{}\n<|im_end|>\n"
    for message in dialog.messages:
        turn = f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n"
        longer = len(tokenizer(markup.format("assistant")).input_ids) - len(
            tokenizer(markup.format(message["role"])).input_ids
        )
        assert count(message["content"]) == len(tokenizer(turn).input_ids) + longer

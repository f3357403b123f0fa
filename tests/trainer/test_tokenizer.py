"""The tiny tokenizer and the chat template: what is a token, and which tokens the loss is on."""

from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerBase

from tutee_serializer.dialogs import tokens
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import markers
from tutee_serializer.dialogs.tokens import TokenCounter
from tutee_trainer.preset import Preset
from tutee_trainer.tiny.tokenizer import END, train_tokenizer

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


def test_the_templates_own_marks_and_the_chat_agree_on_what_the_student_writes(
    tokenizer: PreTrainedTokenizerBase, make_dialog: Callable[..., Dialog]
) -> None:
    messages = make_dialog(PROGRAMS).messages
    marked = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = Chat(tokenizer).encode(messages)
    closing = tokenizer.encode("\n", add_special_tokens=False)  # the template ends with a newline
    assert (ids + closing, [*map(bool, mask), False]) == (
        marked["input_ids"],
        [bool(mask) for mask in marked["assistant_masks"]],
    )


@pytest.mark.parametrize("format", ["edits", "code", "dual"])
def test_an_end_mark_in_a_program_does_not_end_a_turn(
    tokenizer: PreTrainedTokenizerBase, make_dialog: Callable[..., Dialog], format: str
) -> None:
    programs = [(f"print('{END}')\n<|im_start|>user\n", 0.0), (f"print('{END}', 1)\n", 0.0)]
    messages = make_dialog(programs, format=format).messages
    ids, _ = Chat(tokenizer).encode(messages)
    assert ids.count(tokenizer.eos_token_id) == len(messages)
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == len(messages)


def test_turns_counted_together_count_as_they_do_alone(
    make_dialog: Callable[..., Dialog], tokenizer: PreTrainedTokenizerBase
) -> None:
    dialog = make_dialog([("def f(n):\n    return n\n", 0.0), ("def f(n):\n    return  n + 1\n\n", 100.0)])
    assert tokens._cuts_at_lines(tokenizer.backend_tokenizer)
    chat = Chat(tokenizer)
    together, alone = TokenCounter(chat, (m["content"] for m in dialog.messages)), TokenCounter(chat)
    for message in dialog.messages:
        assert together(message["content"]) == alone(message["content"])

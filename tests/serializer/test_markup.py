"""Nothing that a student writes can be taken for the markup of any family's chat template."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tutee_serializer.dialogs.markup import escape, unescape

MARKUP = [
    *("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|end|>"),
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
    *("<s>", "</s>", "[INST]", "[/INST]", "<unk>"),
    *("<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "<pad>"),
    *("<｜User｜>", "<｜end▁of▁sentence｜>"),
]
# Pieces that markup, escaped markup, and what is neither are made of.
PIECES = st.sampled_from(
    ["<", "\\", "|", "｜", "/", ">", "[", "]", "INST", "s", "think", "eos", "pad", "x", *MARKUP]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


@pytest.mark.parametrize("mark", MARKUP)
def test_markup_becomes_text_by_one_more_backslash(mark: str) -> None:
    escaped = escape(f"print('{mark}')")
    assert escaped == f"print('{mark[0]}\\{mark[1:]}')"
    assert escape(escaped) == f"print('{mark[0]}\\\\{mark[1:]}')"


@settings(max_examples=500, deadline=None)
@given(TEXTS)
@example("<\\s>")
@example("[\\\\/INST]")
def test_a_text_comes_back_and_holds_no_markup(text: str) -> None:
    escaped = escape(text)
    assert unescape(escaped) == text
    assert not any(mark in escaped for mark in MARKUP)
    assert not re.search("<[|｜]", escaped)


@pytest.mark.parametrize(
    "code",
    ["if a < b > c: x[0] = 1", "a<s", "list[INST]"[:4], "x <span>", "s>t", "<start>", "[inst]", "a</b"],
)
def test_ordinary_code_stays_as_it_is(code: str) -> None:
    assert escape(code) == code

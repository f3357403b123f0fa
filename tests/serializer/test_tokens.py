import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tutee_serializer.dialogs import tokens
from tutee_serializer.dialogs.tokens import count_tokens

PROGRAM = "def f(n):\n    if n > 1: \n\n        return 'é'  # don't\n\n\n    return {n: 10}\n"
PIECES = [
    "<|im_end|>",
    "\n",
    "\n\n",
    " \n",
    "\r\n",
    "\t",
    "  ",
    "\x85",
    "\u2003",
    "\x1c",
    "\0",
    "é",
    "x",
    "10",
    ":",
    "'s",
]
TEXTS = st.lists(st.lists(st.sampled_from([*PIECES, PROGRAM]), max_size=12).map("".join), max_size=6)


def gpt2(pre_tokenizer=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_end|>", "<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([PROGRAM] * 20, trainer)
    return tokenizer


def _of_pattern(pattern):
    words = pre_tokenizers.Split(Regex(pattern), "isolated")
    return gpt2(
        pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    )


def _of_another_pattern():
    # Signs take the newlines behind them, as in the tokenizers of later models.
    return _of_pattern(r"[^\s\w]+\n*|\w+|\s+")


def _without_pattern():
    return gpt2(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))


def _with_a_blank_before():
    return gpt2(pre_tokenizers.ByteLevel(add_prefix_space=True))


def _without_pre_tokenizer():
    tokenizer = gpt2()
    tokenizer.pre_tokenizer = None
    return tokenizer


def _that_strips():
    tokenizer = gpt2()
    tokenizer.normalizer = normalizers.Strip()
    return tokenizer


def _that_truncates():
    tokenizer = gpt2()
    tokenizer.enable_truncation(7)
    return tokenizer


def _that_pads():
    tokenizer = gpt2()
    tokenizer.enable_padding(length=90)
    return tokenizer


def _with(token):
    def make():
        tokenizer = gpt2()
        tokenizer.add_tokens([token])
        return tokenizer

    return make


OTHERS = [
    _of_another_pattern,
    _without_pattern,
    _without_pre_tokenizer,
    _with_a_blank_before,
    _that_strips,
    _that_truncates,
    _that_pads,
    _with(AddedToken(":\n", normalized=False)),
    _with(AddedToken("10}", rstrip=True, normalized=False)),
    _with(AddedToken("return", lstrip=True, single_word=True, normalized=False)),
]


def _whole(tokenizer, texts):
    return [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]


GPT2 = gpt2()
TINY = _of_pattern(tokens.WORDS)


@pytest.mark.parametrize("tokenizer", [GPT2, TINY], ids=["gpt2", "tiny"])
@settings(max_examples=300, deadline=None)
@given(texts=TEXTS)
def test_lines_counted_apart_come_to_what_whole_texts_come_to(tokenizer, texts):
    assert count_tokens(tokenizer, pl.Series(texts, dtype=pl.String)).to_list() == _whole(tokenizer, texts)


@pytest.mark.parametrize("make", OTHERS)
def test_any_other_tokenizer_gives_what_it_gives_for_whole_texts(make):
    tokenizer = make()
    texts = [PROGRAM, "x:\n10\n", PROGRAM, "10}\n\n  x", ""]
    assert count_tokens(tokenizer, pl.Series(texts)).to_list() == _whole(tokenizer, texts)


def test_what_a_post_processor_adds_to_each_text_is_not_counted():
    tokenizer = gpt2()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    assert count_tokens(tokenizer, pl.Series([PROGRAM])).to_list() == _whole(tokenizer, [PROGRAM])


@pytest.mark.parametrize("tokenizer", [GPT2, TINY], ids=["gpt2", "tiny"])
def test_a_line_that_texts_share_is_encoded_once(monkeypatch, tokenizer):
    seen = []
    encode = tokens._encode
    monkeypatch.setattr(
        tokens, "_encode", lambda tokenizer, texts: seen.extend(texts) or encode(tokenizer, texts)
    )
    count_tokens(tokenizer, pl.Series([PROGRAM, PROGRAM + "print(f(3))\n", PROGRAM]))
    assert len(seen) == len(set(seen))
    assert sum(map(len, seen)) < 1.5 * len(PROGRAM)

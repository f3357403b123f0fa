"""The tokenizer of a tiny model, with its chat template."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tutee_grader.errors import InputError
from tutee_serializer.dialogs.formats import markers
from tutee_serializer.dialogs.tokens import line_words
from tutee_trainer.preset import Preset

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
TEMPLATE = Path(__file__).with_name("chat_template.jinja")


def train_tokenizer(preset: Preset, texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer of `texts` that holds the format's markers as single tokens.

    Raises InputError where the preset's vocabulary is too small for bytes and markers.
    """
    if preset.tokenizer is None:
        raise InputError(f"preset {preset.name}: a pretrained model brings its own tokenizer")
    marks = markers(preset.format)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    least = len(alphabet) + len(marks) + 3
    if preset.tokenizer.vocabulary < least:
        raise InputError(
            f"preset {preset.name}: tokenizer.vocabulary is {preset.tokenizer.vocabulary}; bytes and the "
            f"markers of format {preset.format} alone need {least}"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = line_words()
    tokenizer.decoder = decoders.ByteLevel()
    # Markers come after the merges in the vocabulary, and are never part of one.
    tokenizer.add_special_tokens([PAD, START, END])
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in marks])
    trainer = trainers.BpeTrainer(
        vocab_size=preset.tokenizer.vocabulary - len(marks),
        special_tokens=[PAD, START, END],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_split_at_markers(texts, marks), trainer)
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in marks])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[START],
        chat_template=TEMPLATE.read_text(encoding="utf-8"),
        model_max_length=preset.dialog.max_length,
        clean_up_tokenization_spaces=False,
    )


def _split_at_markers(texts: Iterable[str], marks: tuple[str, ...]) -> Iterator[str]:
    """The parts of the texts between markers."""
    if not marks:
        yield from texts
        return
    mark = re.compile("|".join(map(re.escape, marks)))
    for text in texts:
        yield from mark.split(text)

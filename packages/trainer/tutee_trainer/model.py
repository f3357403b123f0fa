"""Models and tokenizers: a tiny one from random weights, or a pretrained one in 4 bits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutee_grader.errors import InputError, TuteeError, UnavailableError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.formats import markers
from tutee_serializer.dialogs.tokens import line_words
from tutee_trainer.preset import Preset, PretrainedModel, TinyModel

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
TEMPLATE = Path(__file__).with_name("chat_template.jinja")


def train_tokenizer(preset: Preset, texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer of `texts` that holds the format's markers as single tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if preset.tokenizer is None:
        raise InputError(f"preset {preset.name}: a pretrained model brings its own tokenizer")
    marks = markers(preset.dialog.format)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    least = len(alphabet) + len(marks) + 3
    if preset.tokenizer.vocabulary < least:
        raise InputError(
            f"preset {preset.name}: tokenizer.vocabulary is {preset.tokenizer.vocabulary}; bytes and the "
            f"markers of format {preset.dialog.format} alone need {least}"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = line_words()
    tokenizer.decoder = decoders.ByteLevel()
    # Markers take their place in the vocabulary after the merges, and stand apart while merges are learnt.
    tokenizer.add_special_tokens([PAD, START, END])
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in marks])
    trainer = trainers.BpeTrainer(
        vocab_size=preset.tokenizer.vocabulary - len(marks),
        special_tokens=[PAD, START, END],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_apart(texts, marks), trainer)
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


def load_base(preset: Preset, base: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that an adapter is trained on, and its tokenizer with this package's chat template.

    `base` is the folder that stage base wrote: the tiny model itself, or a card that names a pretrained one.
    Raises InputError where stage base has not run with this preset, UnavailableError where the
    weights cannot be had.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not (base / "student.json").exists():
        raise InputError(f"{base}: missing; run `tutee train base` first")
    card = StudentCard.load(base)
    if card.preset != preset.name:
        raise InputError(
            f"{base}: was trained with preset {card.preset}, not {preset.name}; run `tutee train base` again"
        )
    pretrained = isinstance(preset.model, PretrainedModel)
    source = preset.model.pretrained if isinstance(preset.model, PretrainedModel) else str(base)
    check_device(preset)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=compute_dtype() if pretrained else torch.float32,
            quantization_config=_nf4(preset),
            device_map="auto" if torch.cuda.is_available() else None,
        )
    except OSError as error:
        raise _not_had(preset, source, error) from error
    tokenizer.chat_template = TEMPLATE.read_text(encoding="utf-8")
    return model, tokenizer


def check_template() -> None:
    """Raises TuteeError where the chat template's marks miss what the student writes, or cover more.

    Needs neither a tokenizer nor weights: the template is rendered as text.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    roles = ("system", "user", "assistant", "user", "assistant")
    messages = [{"role": role, "content": f"{role} {number}"} for number, role in enumerate(roles)]
    (text,), (marks,) = render_jinja_template(
        conversations=[messages],
        chat_template=TEMPLATE.read_text(encoding="utf-8"),
        return_assistant_tokens_mask=True,
    )
    marked = [text[start:end] for start, end in marks]
    expected = [message["content"] + END for message in messages if message["role"] == "assistant"]
    if marked != expected:
        raise TuteeError(f"{TEMPLATE}: marks {marked} for the loss, not {expected}; mend the template")


def check_device(preset: Preset) -> None:
    """Raises UnavailableError where this machine cannot train the preset rightly.

    NF4 needs CUDA: on a CPU its gradients are silently wrong after any forward pass without gradients.
    """
    import torch

    model = preset.model
    if isinstance(model, PretrainedModel) and model.quantization == "nf4" and not torch.cuda.is_available():
        raise UnavailableError(
            f"preset {preset.name}: model.quantization is nf4, which trains rightly on CUDA only, and this "
            "machine has none; use a machine with a GPU, or the preset tiny"
        )


def check_pretrained(preset: Preset) -> None:
    """Raises UnavailableError where a pretrained preset's model cannot be trained or had here."""
    from transformers import AutoConfig

    check_device(preset)
    if isinstance(preset.model, PretrainedModel):
        try:
            AutoConfig.from_pretrained(preset.model.pretrained)
        except OSError as error:
            raise _not_had(preset, preset.model.pretrained, error) from error


def _not_had(preset: Preset, source: str, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"preset {preset.name}: {source} cannot be loaded ({error}); give model.pretrained a local folder, "
        "or let this machine reach the hub (unset HF_HUB_OFFLINE)"
    )


def compute_dtype() -> torch.dtype:
    """bfloat16, or float16 on GPUs without it (V100); float32 on a CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _nf4(preset: Preset) -> Any:
    if not isinstance(preset.model, PretrainedModel) or preset.model.quantization != "nf4":
        return None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype(),
    )


def _apart(texts: Iterable[str], marks: tuple[str, ...]) -> Iterable[str]:
    """The pieces of the texts between markers, which are never part of a merge."""
    import re

    if not marks:
        yield from texts
        return
    mark = re.compile("|".join(map(re.escape, marks)))
    for text in texts:
        yield from mark.split(text)


def new_model(preset: Preset, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A Qwen3 causal language model of the preset's shape (float32): random weights, and heads that copy."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from tutee_trainer.initialisation import lay_induction

    shape = preset.model
    if not isinstance(shape, TinyModel) or preset.base is None:
        raise InputError(f"preset {preset.name}: {shape} is not a shape for random weights")
    torch.manual_seed(preset.base.seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.mlp_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size,
        max_position_embeddings=preset.dialog.max_length,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},  # as Qwen3 has it
    )
    model = Qwen3ForCausalLM(config)
    lay_induction(model)
    return model

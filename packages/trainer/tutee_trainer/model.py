"""Loads the model that adapters train on: the tiny one from its folder, or a pretrained one in 4 bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutee_grader.errors import InputError, UnavailableError
from tutee_serializer.card import StudentCard
from tutee_trainer.chat import chat_template
from tutee_trainer.preset import Preset, PretrainedModel

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_base(preset: Preset, base: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that an adapter is trained on, and its tokenizer with this package's chat template.

    `base` is the folder that stage base wrote: the tiny model itself, or a card that names a pretrained one.
    Raises InputError where stage base has not run with this preset, UnavailableError where the weights
    cannot be loaded.
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
        raise _not_loaded(preset, source, error) from error
    tokenizer.chat_template = chat_template()
    return model, tokenizer


def check_device(preset: Preset) -> None:
    """Raises UnavailableError where this machine cannot train the preset correctly.

    NF4 needs CUDA: on a CPU its gradients are silently wrong after any forward pass without gradients.
    """
    import torch

    model = preset.model
    if isinstance(model, PretrainedModel) and model.quantization == "nf4" and not torch.cuda.is_available():
        raise UnavailableError(
            f"preset {preset.name}: model.quantization is nf4, which trains correctly on CUDA only, and this "
            "machine has none; use a machine with a GPU, or the preset tiny"
        )


def check_pretrained(preset: Preset) -> None:
    """Raises UnavailableError where this machine can neither train nor find a pretrained preset's model."""
    from transformers import AutoConfig

    check_device(preset)
    if isinstance(preset.model, PretrainedModel):
        try:
            AutoConfig.from_pretrained(preset.model.pretrained)
        except OSError as error:
            raise _not_loaded(preset, preset.model.pretrained, error) from error


def compute_dtype() -> torch.dtype:
    """bfloat16, or float16 on GPUs without it (V100); float32 on a CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _not_loaded(preset: Preset, source: str, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"preset {preset.name}: {source} cannot be loaded ({error}); give model.pretrained a local folder, "
        "or let this machine reach the hub (unset HF_HUB_OFFLINE)"
    )


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

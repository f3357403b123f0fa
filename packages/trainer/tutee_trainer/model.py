"""Loads the model that adapters train on, with its chat template."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.chat import Chat
from tutee_trainer.preset import Preset, PretrainedModel
from tutee_trainer.pretrained import check, find_source, not_loaded

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def load_model(preset: Preset, base: Path) -> PreTrainedModel:
    """The model that an adapter is trained on.

    `base` is the folder that stage base wrote with this preset: a model with its tokenizer, or the tokenizer
    and a card that names a pretrained model. Raises UnavailableError where the weights cannot be loaded.
    """
    from transformers import AutoModelForCausalLM

    if (base / "config.json").exists():
        name, keywords = str(base), {}
    else:
        assert isinstance(preset.model, PretrainedModel)
        check(preset)
        source = find_source(preset.model)
        name, keywords = source.name, source.keywords
    try:
        return AutoModelForCausalLM.from_pretrained(
            name,
            dtype=weights_dtype(preset),
            quantization_config=_nf4(preset),
            device_map=_one_device(),
            **keywords,
        )
    except OSError as error:
        raise not_loaded(name, error) from error


def load_chat(preset: Preset, base: Path) -> Chat:
    """The chat of the model in `base`; raises InputError where stage base has not run with this preset."""
    from transformers import AutoTokenizer

    if not (base / "student.json").exists():
        raise InputError(f"{base}: missing; run `tutee train base` first")
    card = StudentCard.load(base)
    if card.preset != preset.name:
        raise InputError(
            f"{base}: was trained with preset {card.preset}, not {preset.name}; run `tutee train base` again"
        )
    return Chat(AutoTokenizer.from_pretrained(base))


def compute_dtype(preset: Preset) -> torch.dtype:
    """The type that products are computed in: on a GPU bfloat16, or float16 where it has none (V100).

    On a CPU, what the preset says; `auto` is the faster of float32 and bfloat16 on this machine.
    """
    import torch

    if torch.cuda.is_available():
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bf16 else torch.float16
    asked = preset.model.dtype if isinstance(preset.model, PretrainedModel) else "float32"
    if asked == "auto":
        return _faster_on_cpu()
    return torch.bfloat16 if asked == "bfloat16" else torch.float32


@cache
def _faster_on_cpu() -> torch.dtype:
    """The faster type: products in bfloat16 take half the time on some processors, and twice on others.

    The two take turns, and the best of each counts, so that other work on the machine hits both.
    """
    import torch

    sides = {dtype: torch.ones(1024, 1024, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
    times: dict[torch.dtype, list[float]] = {dtype: [] for dtype in sides}
    for _ in range(8):
        for dtype, side in sides.items():
            started = time.perf_counter()
            side @ side
            times[dtype].append(time.perf_counter() - started)
    return min(sides, key=lambda dtype: min(times[dtype]))


def weights_dtype(preset: Preset) -> torch.dtype:
    """The type of the base's frozen weights: that of the products, but float32 for a tiny model."""
    import torch

    return compute_dtype(preset) if isinstance(preset.model, PretrainedModel) else torch.float32


def _one_device() -> dict[str, Any] | None:
    """All of a model on this process's own GPU: `auto` would split it over all that it sees."""
    import torch

    if not torch.cuda.is_available():
        return None
    from accelerate import PartialState

    return {"": PartialState().device}


def _nf4(preset: Preset) -> Any:
    if not isinstance(preset.model, PretrainedModel) or preset.model.quantization != "nf4":
        return None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype(preset),
    )

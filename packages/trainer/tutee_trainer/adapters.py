"""Adapters: adding one to a model, loading and widening one, and the folder that holds one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutee_grader.errors import InputError
from tutee_grader.files import hash_file
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.levels import Feedback
from tutee_trainer.preset import AdapterConfig, Preset

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def new_adapter(model: PreTrainedModel, lora: AdapterConfig, seed: int) -> PeftModel:
    """`model` with a fresh LoRA adapter named `default`, which changes nothing yet."""
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    torch.manual_seed(seed)
    if getattr(model, "is_loaded_in_4bit", False):
        model = prepare_model_for_kbit_training(model)
    # PEFT keeps the adapter's weights in float32 (`autocast_adapter_dtype`), whatever the model's type.
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def load_adapter(
    model: PreTrainedModel,
    folder: Path,
    rank: int | None = None,
    alpha: int | None = None,
    dropout: float | None = None,
    seed: int = 0,
) -> Any:
    """`model` with the adapter in `folder`, trainable; widened to `rank` and `alpha` where they are larger.

    `dropout` takes the place of the adapter's own.

    A wider adapter computes the same function: the new rows of A are random, the new columns of B zero, and
    B is scaled by the ratio of alpha / rank.
    """
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
    from peft.utils import load_peft_weights

    torch.manual_seed(seed)
    if getattr(model, "is_loaded_in_4bit", False):
        model = prepare_model_for_kbit_training(model)
    narrow = LoraConfig.from_pretrained(folder)
    narrow.lora_dropout = narrow.lora_dropout if dropout is None else dropout
    narrow.base_model_name_or_path = model.name_or_path  # the folder's own is relative to the folder
    if (rank or narrow.r, alpha or narrow.lora_alpha) == (narrow.r, narrow.lora_alpha):
        return PeftModel.from_pretrained(model, folder, is_trainable=True, config=narrow)
    wide = replace(narrow)
    wide.inference_mode, wide.r, wide.lora_alpha = False, rank or narrow.r, alpha or narrow.lora_alpha
    widened = get_peft_model(model, wide)
    ratio = (narrow.lora_alpha / narrow.r) / (wide.lora_alpha / wide.r)
    fresh = {name: value.clone() for name, value in widened.state_dict().items() if "lora_" in name}
    for name, value in load_peft_weights(str(folder), device="cpu").items():
        target = name.replace(".weight", ".default.weight")
        with torch.no_grad():
            if "lora_A" in name:
                fresh[target][: narrow.r] = value
            else:
                fresh[target].zero_()[:, : narrow.r] = value * ratio
    widened.load_state_dict(fresh, strict=False)
    return widened


def check_same_base(adapter: Path, base: Path) -> None:
    """Raises InputError where the adapter was trained on other weights than `base` holds or names."""
    theirs = Path(StudentCard.load(adapter).base_of(adapter))
    if _identity(theirs) != _identity(base):
        raise InputError(
            f"{adapter}: was trained on another base model than {base}; adapters go on from each other on "
            "one pretrained model only (random weights are trained anew each time): set warm_start to null"
        )


def _identity(base: Path) -> tuple[str, ...]:
    """What distinguishes a base model: its weights, or the name and revision in its card."""
    weights = sorted(base.glob("*.safetensors"))
    if weights:
        return tuple(map(hash_file, weights))
    card = StudentCard.load(base)
    return card.base, card.revision or ""


def save_adapter(
    folder: Path,
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    card: StudentCard,
    training: dict[str, Any],
) -> None:
    """Writes PEFT's files, the tokenizer, student.json and training.json into `folder`.

    The same adapter gives the same bytes, in whichever folder.
    """
    model.save_pretrained(folder, selected_adapters=["default"])
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = card.base
    config["target_modules"].sort()  # PEFT keeps a set, whose order differs from process to process
    _write_json(file, config)
    tokenizer.save_pretrained(folder)
    card.save(folder)
    _write_json(folder / "training.json", training)


def _write_json(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def student_card(
    preset: Preset, course: str, method: str, feedback: Feedback, base: str, revision: str | None = None
) -> StudentCard:
    """The card of a student that this preset trains; `base` and `revision` as the card names them."""
    dialog = preset.dialog
    return StudentCard(
        method=method,
        course=course,
        base=base,
        format=preset.format,
        feedback=feedback,
        max_length=dialog.max_length,
        max_new_tokens=dialog.max_new_tokens,
        preset=preset.name,
        revision=revision,
    )

"""From a preset to the training arguments of TRL, the same way for every preset."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutee_trainer.model import check_template, compute_dtype
from tutee_trainer.preset import Preset, PresetError, Stage

if TYPE_CHECKING:
    from trl import DPOConfig, GRPOConfig, SFTConfig

Settings = dict[str, Any]  # arguments of a TRL configuration that are set here; the rest are TRL's defaults


def sft_settings(preset: Preset, examples: int | None = None) -> Settings:
    """SFT and PARA. `examples`: dialogs at hand, where that is known."""
    return _shared(preset.sft, examples) | {
        "assistant_only_loss": True,
        "max_length": preset.dialog.max_length,
        "packing": False,
        "train_sampling_strategy": "group_by_length",
    }


def dpo_settings(preset: Preset, examples: int | None = None) -> Settings:
    """DPO. `examples`: pairs at hand, where that is known."""
    return _shared(preset.dpo, examples) | {
        "beta": preset.dpo.beta,
        "loss_type": ["sigmoid"],
        "max_length": preset.dialog.max_length,
    }


def dapo_settings(preset: Preset, examples: int | None = None) -> Settings:
    """DAPO. `examples`: completions at hand (prompts times samples), where that is known."""
    dapo = preset.dapo
    return _shared(dapo, examples) | {
        "loss_type": "dapo",
        "beta": 0.0,
        "epsilon": dapo.epsilon,
        "epsilon_high": dapo.epsilon_high,
        "scale_rewards": "none",
        "mask_truncated_completions": True,
        "num_generations": dapo.samples,
        "temperature": dapo.temperature,
        "max_completion_length": preset.dialog.max_new_tokens,
    }


def sft_config(settings: Settings, folder: Path) -> SFTConfig:
    from trl import SFTConfig

    return SFTConfig(output_dir=str(folder), **settings)


def dpo_config(settings: Settings, folder: Path) -> DPOConfig:
    from trl import DPOConfig

    return DPOConfig(output_dir=str(folder), **settings)


def dapo_config(settings: Settings, folder: Path) -> GRPOConfig:
    from trl import GRPOConfig

    return GRPOConfig(output_dir=str(folder), **settings)


def reached(rows: list[Any], stage: Stage, settings: Settings) -> list[Any]:
    """The rows, shuffled, that the steps will reach: what is never trained on need not be tokenized."""
    drawn = list(rows)
    random.Random(stage.seed).shuffle(drawn)
    return drawn[: settings["max_steps"] * stage.batch]


def resolve(preset: Preset) -> dict[str, Settings]:
    """The training arguments that each stage of the preset comes to on this machine, as TRL accepts them.

    Checks the chat template, too. Needs neither a GPU nor weights. Raises PresetError where TRL refuses them.
    """
    check_template()
    resolved = {}
    stages: list[tuple[str, Callable[[Preset], Settings], Callable[[Settings, Path], Any]]] = [
        ("sft", sft_settings, sft_config),
        ("dpo", dpo_settings, dpo_config),
        ("dapo", dapo_settings, dapo_config),
    ]
    for stage, settings, config in stages:
        values = settings(preset)
        try:
            made = config(values, Path(stage))
        except ValueError as error:
            raise PresetError(f"preset {preset.name}: {stage}: {error}") from error
        resolved[stage] = {key: _plain(getattr(made, key)) for key in values}
    return resolved


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _shared(stage: Stage, examples: int | None) -> Settings:
    import torch

    cuda = torch.cuda.is_available()
    steps = stage.steps
    if examples is not None:
        wanted = max(1, math.ceil(stage.epochs * examples / stage.batch))
        steps = min(wanted, steps or wanted)
    return {
        "per_device_train_batch_size": stage.micro_batch,
        "gradient_accumulation_steps": stage.batch // stage.micro_batch,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": stage.schedule,
        "warmup_steps": stage.warmup,
        "num_train_epochs": stage.epochs,
        "max_steps": steps or -1,
        "seed": stage.seed,
        "bf16": compute_dtype() == torch.bfloat16,
        "fp16": compute_dtype() == torch.float16,
        "use_cpu": not cuda,
        "activation_checkpointing": cuda,
        "dataloader_pin_memory": cuda,
        "logging_steps": 1,
        "logging_first_step": True,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }

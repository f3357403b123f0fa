"""SFT: supervised fine-tuning of a LoRA adapter on students' dialogs with the grader's feedback."""

from pathlib import Path
from typing import Any

from tutee_grader.errors import InputError
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.dialog import read_dialogs
from tutee_serializer.dialogs.levels import Feedback
from tutee_trainer.adapters import check_same_base, load_adapter, new_adapter
from tutee_trainer.method import Method, Settings
from tutee_trainer.model import load_chat, load_model
from tutee_trainer.preset import Preset
from tutee_trainer.rows import tokenize, validation_rows
from tutee_trainer.running import Run
from tutee_trainer.training import (
    AdapterMethodConfig,
    TrainingJob,
    TrainingResult,
    plan,
    shared_arguments,
    silence_libraries,
)


class SftConfig(AdapterMethodConfig):
    """Section `sft`, of SFT and PARA: the loss is on the student's turns only.

    `packing` puts several dialogs into one row, which needs FlashAttention to keep them apart; without it,
    a row is one dialog.
    """

    packing: bool = False


def arguments(preset: Preset, examples: int | None = None) -> Settings:
    """TRL's arguments; `examples` counts pieces of dialogs."""
    config = preset.section("sft", SftConfig)
    return shared_arguments(preset, config, examples) | {
        "max_length": preset.dialog.max_length,
        "packing": config.packing and _has_flash_attention(),
    }


def train_on_dialogs(job: TrainingJob, method: str, feedback: Feedback) -> TrainingResult:
    """Trains an adapter on the training students' dialogs with this much feedback."""
    preset, config = job.preset, job.preset.section("sft", SftConfig)
    silence_libraries()
    chat = load_chat(preset, job.base)
    dialogs = read_dialogs(job.data, preset.format, feedback, "train")
    rows = tokenize(dialogs, chat, preset)
    if not rows:
        raise InputError(f"{job.data}: no dialog fits dialog.max_length of preset {preset.name}")
    settings, ordered = plan(preset, config, arguments, rows)
    figures = {"dialogs": len(dialogs), "pieces": len(rows)}
    return train_on_rows(job, method, feedback, config, chat, settings, ordered, figures)


def train_on_rows(
    job: TrainingJob,
    method: str,
    feedback: Feedback,
    config: AdapterMethodConfig,
    chat: Chat,
    settings: Settings,
    ordered: list[dict[str, list[int]]],
    figures: dict[str, Any],
) -> TrainingResult:
    """Trains an adapter on rows in this order, by TRL's arguments; `figures` begin its training.json."""
    preset, lora = job.preset, job.preset.lora
    if job.warm_start:
        check_same_base(job.warm_start, job.base)
    validation = validation_rows(job, config, feedback, chat)

    def make_trainer(settings: Settings, folder: Path) -> Any:
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer

        model = load_model(preset, job.base)
        if method == "sft" and job.warm_start:
            adapted = load_adapter(model, job.warm_start, lora.rank, lora.alpha, lora.dropout, config.seed)
        else:
            adapted = new_adapter(model, lora, config.seed)
        return SFTTrainer(
            model=adapted,
            args=SFTConfig(output_dir=str(folder), **settings),
            train_dataset=Dataset.from_list(ordered),
            processing_class=chat.tokenizer,
        )

    run = Run(job, method, feedback, chat, settings, ordered, validation, figures["dialogs"], make_trainer)
    return run.train(figures)


def train(job: TrainingJob) -> TrainingResult:
    """Trains on the dialogs with the feedback that the preset names."""
    return train_on_dialogs(job, "sft", job.preset.dialog.feedback)


def _has_flash_attention() -> bool:
    from transformers.utils import is_flash_attn_2_available

    return bool(is_flash_attn_2_available())


METHOD = Method(
    name="sft",
    start="base",
    learns_from="dialogs",
    section="sft",
    config=SftConfig,
    train=train,
    arguments=arguments,
    trl_config="SFTConfig",
    candidate=True,
)

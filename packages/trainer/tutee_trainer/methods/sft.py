"""SFT: supervised fine-tuning of a LoRA adapter on students' dialogs with the grader's feedback."""

import time

from tutee_grader.errors import InputError
from tutee_grader.feedback import Level
from tutee_grader.files import atomic_dir
from tutee_serializer.dialogs.dialog import contents, read_dialogs
from tutee_serializer.dialogs.tokens import TokenCounter
from tutee_trainer.adapters import new_adapter
from tutee_trainer.method import Method, Settings
from tutee_trainer.model import load_base
from tutee_trainer.preset import Preset
from tutee_trainer.training import (
    AdapterMethodConfig,
    TrainingJob,
    TrainingResult,
    rows_within_steps,
    run_and_save,
    shared_arguments,
    silence_libraries,
)


class SftConfig(AdapterMethodConfig):
    """Section `sft`, of SFT and PARA: the loss is on the student's turns only.

    `packing`: whether several dialogs share a row of `max_length` tokens.
    """

    packing: bool = False


def arguments(preset: Preset, examples: int | None = None) -> Settings:
    """TRL's arguments; `examples` counts pieces of dialogs."""
    return shared_arguments(preset.section("sft", SftConfig), examples) | {
        "assistant_only_loss": True,
        "max_length": preset.dialog.max_length,
        "packing": False,
        "train_sampling_strategy": "group_by_length",
    }


def train_on_dialogs(job: TrainingJob, method: str, feedback: Level) -> TrainingResult:
    """Trains an adapter on the training students' dialogs with this much feedback."""
    started = time.perf_counter()
    preset, config = job.preset, job.preset.section("sft", SftConfig)
    dialogs = read_dialogs(job.data, preset.dialog.format, feedback, "train")
    silence_libraries()
    model, tokenizer = load_base(preset, job.base)
    count = TokenCounter(tokenizer, contents(dialogs))
    rows = [
        {"messages": piece} for dialog in dialogs for piece in dialog.pieces(preset.dialog.max_length, count)
    ]
    if not rows:
        raise InputError(f"{job.data}: no dialog fits dialog.max_length of preset {preset.name}")

    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    settings = arguments(preset, len(rows))
    with atomic_dir(job.output) as folder:
        trainer = SFTTrainer(
            model=new_adapter(model, preset.lora, config.seed),
            args=SFTConfig(output_dir=str(folder), **settings),
            train_dataset=Dataset.from_list(rows_within_steps(rows, config, settings)),
            processing_class=tokenizer,
        )
        figures = {"dialogs": len(dialogs), "pieces": len(rows), "arguments": settings}
        training = run_and_save(trainer, job, folder, method, feedback, figures)
    return TrainingResult.from_training(job.output, len(dialogs), training, started)


def train(job: TrainingJob) -> TrainingResult:
    """Trains on the dialogs with the feedback that the preset names."""
    return train_on_dialogs(job, "sft", job.preset.dialog.feedback)


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

"""KTO: unpaired preference optimization, offline, from the SFT adapter (Ethayarajh et al. 2024)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from tutee_grader.errors import InputError
from tutee_grader.files import read_table
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.tokens import TokenCounter
from tutee_serializer.dialogs.truncation import fit
from tutee_trainer.adapters import load_adapter
from tutee_trainer.method import Method, Settings
from tutee_trainer.model import load_chat, load_model
from tutee_trainer.preset import Preset, Rate
from tutee_trainer.rows import validation_rows
from tutee_trainer.running import Run
from tutee_trainer.schemas import PAIRS
from tutee_trainer.training import (
    AdapterMethodConfig,
    TrainingJob,
    TrainingResult,
    check_start,
    plan,
    shared_arguments,
    silence_libraries,
    validation_sample,
)

SMALLEST_MICRO_BATCH = 2


class KtoConfig(AdapterMethodConfig):
    """Section `kto`. KTO estimates how far the model has moved from the rest of a micro-batch: at least 2."""

    micro_batch: Annotated[int, Field(ge=SMALLEST_MICRO_BATCH)] = SMALLEST_MICRO_BATCH
    beta: Rate = 0.1


def arguments(preset: Preset, examples: int | None = None) -> Settings:
    """TRL's arguments; `examples` counts programs, desirable and undesirable."""
    config = preset.section("kto", KtoConfig)
    return shared_arguments(preset, config, examples) | {
        "beta": config.beta,
        "loss_type": "kto",
        "max_length": preset.dialog.max_length,
    }


def tokenize(pairs: pl.DataFrame, chat: Chat, max_length: int) -> list[dict[str, Any]]:
    """The sides of PAIRS that fit `max_length` tokens: prompt, completion, and whether it is desirable.

    Desirable is the student's real next submission, once for each turn however many pairs it is part of;
    undesirable is the rejected side of each pair.
    """
    count = TokenCounter(chat)
    chosen = pairs.unique(["dialog_id", "turn"], keep="first", maintain_order=True)
    rows = []
    for table, side, label in ((chosen, "chosen", True), (pairs, "rejected", False)):
        for pair in table.iter_rows(named=True):
            prompt = fit(pair["prompt"], count.room(max_length) - count(pair[side]), count)
            if prompt is not None:
                ids = {"prompt_ids": chat.prompt(prompt), "completion_ids": chat.reply(pair[side])}
                rows.append({**ids, "label": label})
    return rows


def desirable_weight(rows: Sequence[dict[str, Any]]) -> float:
    """The weight of a desirable program with which both sides weigh the same (eq. 8 of the paper)."""
    desirable = sum(row["label"] for row in rows)
    return round((len(rows) - desirable) / desirable, 2) if 0 < desirable < len(rows) else 1.0


def with_mismatched(rows: Sequence[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """The rows, each with the completion of its neighbour among `size`, on which KTO measures how far the
    model has moved from the reference."""
    return [
        {**row, "KL_completion_ids": batch[place - 1]["completion_ids"]}
        for batch in (rows[at : at + size] for at in range(0, len(rows), size))
        for place, row in enumerate(batch)
    ]


def train(job: TrainingJob) -> TrainingResult:
    """Trains on desirable and undesirable programs with the loss `kto` (arXiv 2402.01306).

    The frozen reference is a copy of the adapter that training starts from, so policy and reference agree
    before the first step.
    """
    preset, config = job.preset, job.preset.section("kto", KtoConfig)
    pairs = read_table(job.data, PAIRS, "pairs")
    check_start(job, "sft")
    silence_libraries()
    chat = load_chat(preset, job.base)
    length = preset.dialog.max_length
    rows = tokenize(pairs.filter(split="train"), chat, length)
    held_out = validation_sample(tokenize(pairs.filter(split="validation"), chat, length), config)
    validation = validation_rows(job, config, preset.dialog.feedback, chat)
    if not rows:
        raise InputError(f"{job.data}: no pair fits dialog.max_length of preset {preset.name}")
    settings, ordered = plan(preset, config, arguments, rows)
    settings["desirable_weight"] = desirable_weight(ordered)

    def make_trainer(settings: Settings, folder: Path) -> Any:
        from datasets import Dataset
        from trl import KTOConfig, KTOTrainer

        class Trainer(KTOTrainer):
            """KTO on rows that are tokens already."""

            def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
                return dataset

        size = settings["per_device_train_batch_size"]
        model = load_model(preset, job.base)
        return Trainer(
            model=load_adapter(model, job.start, seed=config.seed),
            args=KTOConfig(output_dir=str(folder), **settings),
            train_dataset=Dataset.from_list(with_mismatched(ordered, size)),
            eval_dataset=Dataset.from_list(with_mismatched(held_out, size)) if held_out else None,
            processing_class=chat.tokenizer,
        )

    run = Run(
        job, "kto", preset.dialog.feedback, chat, settings, ordered, validation, len(rows), make_trainer,
        smallest_micro_batch=SMALLEST_MICRO_BATCH,
    )  # fmt: skip
    return run.train({"pairs": pairs.height, "examples": len(rows)})


METHOD = Method(
    name="kto",
    start="sft",
    learns_from="pairs",
    section="kto",
    config=KtoConfig,
    train=train,
    arguments=arguments,
    trl_config="KTOConfig",
    candidate=True,
    optional=True,
)

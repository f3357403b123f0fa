"""DPO: direct preference optimization, offline, from the SFT adapter."""

from pathlib import Path
from typing import Any

import polars as pl

from tutee_grader.errors import InputError
from tutee_grader.files import read_table
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.tokens import TokenCounter
from tutee_serializer.dialogs.truncation import fit
from tutee_trainer.adapters import load_adapter
from tutee_trainer.method import Method, Settings
from tutee_trainer.model import load_chat, load_model
from tutee_trainer.preset import Count, Preset, Rate, Share
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


class DpoConfig(AdapterMethodConfig):
    """Section `dpo`: `rank` and `alpha` widen the SFT adapter where they are larger than its own.

    `dropout` takes the place of the SFT adapter's (None: the same).
    """

    beta: Rate = 0.5
    rank: Count | None = None
    alpha: Count | None = None
    dropout: Share | None = None


def arguments(preset: Preset, examples: int | None = None) -> Settings:
    """TRL's arguments; `examples` counts pairs."""
    config = preset.section("dpo", DpoConfig)
    return shared_arguments(preset, config, examples) | {
        "beta": config.beta,
        "loss_type": ["sigmoid"],
        "max_length": preset.dialog.max_length,
    }


def tokenize(pairs: pl.DataFrame, chat: Chat, max_length: int) -> list[dict[str, list[int]]]:
    """The pairs of PAIRS that fit `max_length` tokens; a prompt is cut from its oldest turns on."""
    count = TokenCounter(chat)
    rows = []
    for pair in pairs.iter_rows(named=True):
        answer = max(count(pair["chosen"]), count(pair["rejected"]))
        prompt = fit(pair["prompt"], count.room(max_length) - answer, count)
        if prompt is not None:
            sides = {f"{side}_ids": chat.reply(pair[side]) for side in ("chosen", "rejected")}
            rows.append({"prompt_ids": chat.prompt(prompt), **sides})
    return rows


def train(job: TrainingJob) -> TrainingResult:
    """Trains on preference pairs with the sigmoid loss (Rafailov et al. 2023, arXiv 2305.18290).

    The frozen reference is a copy of the adapter that training starts from, so the first loss is ln 2.
    """
    preset, config = job.preset, job.preset.section("dpo", DpoConfig)
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

    def make_trainer(settings: Settings, folder: Path) -> Any:
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer

        class Trainer(DPOTrainer):
            """DPO on rows that are tokens already."""

            def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
                return dataset

        model = load_model(preset, job.base)
        return Trainer(
            model=load_adapter(model, job.start, config.rank, config.alpha, config.dropout, config.seed),
            args=DPOConfig(output_dir=str(folder), **settings),
            train_dataset=Dataset.from_list(ordered),
            eval_dataset=Dataset.from_list(held_out) if held_out else None,
            processing_class=chat.tokenizer,
        )

    run = Run(
        job, "dpo", preset.dialog.feedback, chat, settings, ordered, validation, len(rows), make_trainer
    )
    return run.train({"pairs": pairs.height, "examples": len(rows)})


METHOD = Method(
    name="dpo",
    start="sft",
    learns_from="pairs",
    section="dpo",
    config=DpoConfig,
    train=train,
    arguments=arguments,
    trl_config="DPOConfig",
    candidate=True,
)

"""KTO: unpaired preference optimization, offline, from the SFT adapter (Ethayarajh et al. 2024)."""

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from tutee_grader.errors import InputError
from tutee_grader.files import atomic_dir, read_table
from tutee_serializer.dialogs.tokens import TokenCounter
from tutee_serializer.dialogs.truncation import fit
from tutee_trainer.adapters import load_adapter
from tutee_trainer.method import Method, Settings
from tutee_trainer.model import load_base
from tutee_trainer.preset import Preset, Rate
from tutee_trainer.training import (
    AdapterMethodConfig,
    TrainingJob,
    TrainingResult,
    check_start,
    rows_within_steps,
    run_and_save,
    shared_arguments,
    silence_libraries,
)


class KtoConfig(AdapterMethodConfig):
    """Section `kto`. KTO estimates how far the model has moved from the rest of a micro-batch: at least 2."""

    micro_batch: Annotated[int, Field(ge=2)] = 2
    beta: Rate = 0.1


def arguments(preset: Preset, examples: int | None = None) -> Settings:
    """TRL's arguments; `examples` counts programs, desirable and undesirable."""
    config = preset.section("kto", KtoConfig)
    return shared_arguments(config, examples) | {
        "beta": config.beta,
        "loss_type": "kto",
        "max_length": preset.dialog.max_length,
    }


def unpair(pairs: pl.DataFrame, max_length: int, count: TokenCounter) -> Iterator[dict[str, Any]]:
    """The sides of PAIRS that fit `max_length` tokens, as TRL's prompt, completion and label.

    Desirable is the student's real next submission, once for each turn however many pairs it is part of;
    undesirable is the rejected side of each pair.
    """
    chosen = pairs.unique(["dialog_id", "turn"], keep="first", maintain_order=True)
    for table, side, label in ((chosen, "chosen", True), (pairs, "rejected", False)):
        for pair in table.iter_rows(named=True):
            answer = count(pair[side])
            prompt = fit(pair["prompt"], max_length - answer, count)
            if prompt is not None:
                completion = [{"role": "assistant", "content": pair[side]}]
                yield {"prompt": prompt, "completion": completion, "label": label}


def desirable_weight(rows: Sequence[dict[str, Any]]) -> float:
    """The weight of a desirable program with which both sides weigh the same (eq. 8 of the paper)."""
    desirable = sum(row["label"] for row in rows)
    return round((len(rows) - desirable) / desirable, 2) if 0 < desirable < len(rows) else 1.0


def train(job: TrainingJob) -> TrainingResult:
    """Trains on desirable and undesirable programs with the loss `kto` (arXiv 2402.01306).

    The frozen reference is a copy of the adapter that training starts from, so policy and reference agree
    before the first step.
    """
    started = time.perf_counter()
    preset, config = job.preset, job.preset.section("kto", KtoConfig)
    pairs = read_table(job.data, "pairs")
    check_start(job, "sft")
    silence_libraries()
    model, tokenizer = load_base(preset, job.base)
    rows = list(unpair(pairs, preset.dialog.max_length, TokenCounter(tokenizer)))
    if not rows:
        raise InputError(f"{job.data}: no pair fits dialog.max_length of preset {preset.name}")
    settings = arguments(preset, len(rows))
    trained_on = rows_within_steps(rows, config, settings)
    settings["desirable_weight"] = desirable_weight(trained_on)

    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    with atomic_dir(job.output) as folder:
        trainer = KTOTrainer(
            model=load_adapter(model, job.start, seed=config.seed),
            args=KTOConfig(output_dir=str(folder), **settings),
            train_dataset=Dataset.from_list(trained_on),
            processing_class=tokenizer,
        )
        figures = {"pairs": pairs.height, "examples": len(rows), "arguments": settings}
        training = run_and_save(trainer, job, folder, "kto", preset.dialog.feedback, figures)
    return TrainingResult.from_training(job.output, len(rows), training, started)


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

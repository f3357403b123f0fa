"""DPO: direct preference optimization, offline, from the SFT adapter."""

import time

from tutee_grader.errors import InputError
from tutee_grader.files import atomic_dir, read_table
from tutee_serializer.dialogs.tokens import TokenCounter
from tutee_serializer.dialogs.truncation import fit
from tutee_trainer.adapters import load_adapter
from tutee_trainer.method import Method, Settings
from tutee_trainer.model import load_base
from tutee_trainer.preset import Count, Preset, Rate, Share
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
    return shared_arguments(config, examples) | {
        "beta": config.beta,
        "loss_type": ["sigmoid"],
        "max_length": preset.dialog.max_length,
    }


def train(job: TrainingJob) -> TrainingResult:
    """Trains on preference pairs with the sigmoid loss (Rafailov et al. 2023, arXiv 2305.18290).

    The frozen reference is a copy of the adapter that training starts from, so the first loss is ln 2.
    """
    started = time.perf_counter()
    preset, config = job.preset, job.preset.section("dpo", DpoConfig)
    pairs = read_table(job.data, "pairs")
    check_start(job, "sft")
    silence_libraries()
    model, tokenizer = load_base(preset, job.base)
    count = TokenCounter(tokenizer)
    rows = []
    for pair in pairs.iter_rows(named=True):
        answer = max(count(pair["chosen"]), count(pair["rejected"]))
        prompt = fit(pair["prompt"], preset.dialog.max_length - answer, count)
        if prompt is None:
            continue
        sides = {side: [{"role": "assistant", "content": pair[side]}] for side in ("chosen", "rejected")}
        rows.append({"prompt": prompt, **sides})
    if not rows:
        raise InputError(f"{job.data}: no pair fits dialog.max_length of preset {preset.name}")
    settings = arguments(preset, len(rows))

    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    with atomic_dir(job.output) as folder:
        trainer = DPOTrainer(
            model=load_adapter(model, job.start, config.rank, config.alpha, config.seed),
            args=DPOConfig(output_dir=str(folder), **settings),
            train_dataset=Dataset.from_list(rows_within_steps(rows, config, settings)),
            processing_class=tokenizer,
        )
        figures = {"pairs": pairs.height, "arguments": settings}
        training = run_and_save(trainer, job, folder, "dpo", preset.dialog.feedback, figures)
    return TrainingResult.from_training(job.output, pairs.height, training, started)


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

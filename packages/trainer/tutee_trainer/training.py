"""What the methods share: the job, the arguments of TRL's trainers, the order of the rows, and the result."""

from __future__ import annotations

import math
import os
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self, TypeVar

from pydantic import Field, model_validator

from tutee_grader.errors import InputError
from tutee_trainer.method import Settings, load_methods
from tutee_trainer.model import compute_dtype
from tutee_trainer.preset import Count, MethodConfig, Preset, PresetError, Rate, Share

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment

Row = TypeVar("Row")
# Of the validation students' rows, those that the log score is measured on: enough to choose the best adapter
# by, and measured in seconds.
VALIDATION_ROWS = 48
IGNORED = -100  # the label of a token without a loss


class AdapterMethodConfig(MethodConfig):
    """What the sections of all methods that train an adapter have in common.

    `batch` counts examples (dialogs, pairs, completions) per optimizer step, of all processes together,
    `micro_batch` those that are on a device at once. `steps` caps the optimizer steps below what `epochs`
    asks for. `optimizer` is a name of transformers; the 8-bit ones need bitsandbytes. The log score of
    validation students, in nats per submission, is measured `evaluations` times, evenly spaced, and the
    adapter with the lowest is kept; the one that training starts from is not among them.
    """

    learning_rate: Rate
    schedule: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    warmup: Share = 0.1
    epochs: Rate = 1.0
    steps: Count | None = None
    batch: Count = 16
    micro_batch: Count = 1
    seed: int = 0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Rate = 1.0
    optimizer: Literal["adamw_torch", "adamw_8bit", "paged_adamw_8bit"] = "adamw_torch"
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    evaluations: Annotated[int, Field(ge=0)] = 4

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        if self.batch % self.micro_batch:
            raise ValueError(f"batch ({self.batch}) must be a multiple of micro_batch ({self.micro_batch})")
        return self


class Tracker(Protocol):
    """Is told a training's figures while it trains."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the figures of a step, by name. Must return at once and must not raise."""


@dataclass(frozen=True)
class TrainingJob:
    """What a method trains on, and the folders it writes.

    `base` is the folder of the base model, `start` that of the model to start from (the same for SFT), and
    `data` the table that the method learns from; `dialogs` is the table whose validation students choose the
    best adapter. `checkpoints` keeps what a killed run goes on from, written
    every `checkpoint_every_s` seconds. `warm_start` is an adapter, trained on the same base, that SFT or a
    learner goes on from. Only methods that use the grader need `assignments`, by name, and `verdict_cache`, a
    file; `judgements` is the file of what a learner's judge answers. `tracker` is told the figures of each
    step; what varies between equal trainings (times, speeds) goes there and never into the folder.
    """

    preset: Preset
    course: str
    output: Path
    base: Path
    start: Path
    data: Path
    dialogs: Path
    checkpoints: Path
    assignments: Mapping[str, Assignment] = field(default_factory=dict)
    verdict_cache: Path | None = None
    judgements: Path | None = None
    warm_start: Path | None = None
    tracker: Tracker | None = None
    checkpoint_every_s: float = 180.0


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training job. `loss` is the mean of the last tenth of the steps."""

    folder: Path
    examples: int
    steps: int
    tokens: int
    loss: float
    seconds: float
    note: str = ""

    @classmethod
    def from_training(cls, folder: Path, examples: int, figures: dict[str, Any], seconds: float) -> Self:
        """The result with the figures of training.json."""
        history, best = figures["history"], figures["best"]
        last = [entry["loss"] for entry in history[-max(1, len(history) // 10) :]]
        notes = [f"{best['eval_nats']:.2f} nats per submission at step {best['step']} kept"] if best else []
        if "reward" in history[-1]:
            notes.append(f"reward {history[0]['reward']:.2f} -> {history[-1]['reward']:.2f}")
        return cls(
            folder,
            examples,
            figures["steps"],
            figures["tokens"],
            sum(last) / len(last),
            seconds,
            ", ".join(notes),
        )

    def __str__(self) -> str:
        if not self.steps:
            return f"{self.folder}: {self.note}, {self.seconds:.0f} s"
        line = f"{self.examples:,} examples -> {self.folder}, {self.steps} steps, {self.tokens:,} tokens"
        return f"{line}, loss {self.loss:.3f}{', ' + self.note if self.note else ''}, {self.seconds:.0f} s"


def check_start(job: TrainingJob, start: str) -> None:
    """Raises InputError where the model to start from, that of method `start`, is missing."""
    if not (job.start / "student.json").exists():
        raise InputError(f"{job.start}: missing; run `tutee train {start}` first")


def shared_arguments(preset: Preset, config: AdapterMethodConfig, examples: int | None) -> Settings:
    """The arguments that all of TRL's trainers take; the steps are known once the examples are."""
    import torch

    cuda, dtype = torch.cuda.is_available(), compute_dtype(preset)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if config.batch % (config.micro_batch * processes):
        raise PresetError(
            f"preset {preset.name}: batch ({config.batch}) must be a multiple of micro_batch "
            f"({config.micro_batch}) times the {processes} processes"
        )
    steps = config.steps
    if examples is not None:
        wanted = max(1, math.ceil(config.epochs * examples / config.batch))
        steps = min(wanted, steps or wanted)
    return {
        "per_device_train_batch_size": config.micro_batch,
        "per_device_eval_batch_size": config.micro_batch,
        "gradient_accumulation_steps": config.batch // (config.micro_batch * processes),
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": config.warmup,
        "max_steps": steps or -1,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "optim": config.optimizer,
        "adam_beta2": config.beta2,
        "seed": config.seed,
        "bf16": dtype == torch.bfloat16,
        "fp16": dtype == torch.float16,
        "use_cpu": not cuda,
        "activation_checkpointing": cuda,
        "dataloader_pin_memory": cuda,
        "train_sampling_strategy": "sequential",  # `rows_in_order` has put them in order
        "logging_steps": 1,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def rows_in_order(
    rows: Sequence[Row], lengths: Sequence[int], config: AdapterMethodConfig, steps: int
) -> list[Row]:
    """The rows of all the steps, in the order in which they are trained on: shuffled anew each epoch.

    Within a step, rows of similar length are neighbours, so that little of a micro-batch is padding.
    """
    chance = random.Random(config.seed)
    order: list[int] = []
    while len(order) < steps * config.batch:
        order += chance.sample(range(len(rows)), len(rows))
    batches = [order[at : at + config.batch] for at in range(0, steps * config.batch, config.batch)]
    return [rows[at] for batch in batches for at in sorted(batch, key=lengths.__getitem__)]


def validation_sample(rows: Sequence[Row], config: AdapterMethodConfig) -> list[Row]:
    """The rows that an evaluation measures; none where the preset asks for no evaluation."""
    if not config.evaluations:
        return []
    return random.Random(config.seed).sample(list(rows), min(VALIDATION_ROWS, len(rows)))


def plan(
    preset: Preset,
    config: AdapterMethodConfig,
    arguments: Callable[[Preset, int | None], Settings],
    rows: Sequence[dict[str, Any]],
) -> tuple[Settings, list[dict[str, Any]]]:
    """TRL's arguments, and the rows of all the steps in their order. `rows` are tokens already, in lists."""
    settings = arguments(preset, len(rows))
    lengths = [sum(len(part) for part in row.values() if isinstance(part, list)) for row in rows]
    return settings, rows_in_order(rows, lengths, config, settings["max_steps"])


def resolve(preset: Preset) -> dict[str, Settings]:
    """The training arguments on this machine, by section of the preset, as TRL accepts them.

    Needs neither a GPU nor weights. Raises PresetError where TRL refuses them.
    """
    import trl

    resolved: dict[str, Settings] = {}
    for method in load_methods().values():
        is_off = method.section not in preset.methods
        if is_off or method.section in resolved or method.arguments is None or method.trl_config is None:
            continue
        settings = method.arguments(preset, None)
        try:
            config = getattr(trl, method.trl_config)(output_dir=method.name, **settings)
        except ValueError as error:
            raise PresetError(f"preset {preset.name}: {method.section}: {error}") from error
        values = {key: getattr(config, key) for key in settings}
        resolved[method.section] = {
            key: value.value if isinstance(value, Enum) else value for key, value in values.items()
        }
    return resolved


def silence_libraries() -> None:
    """Silences the libraries' own bars and advice; call it before `datasets` is imported."""
    import transformers

    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    # TRL still asks transformers by a name that its next major version drops.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)

"""What the methods share: the job, the arguments of TRL's trainers, running one, and its result."""

from __future__ import annotations

import math
import os
import random
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar

from pydantic import model_validator
from tqdm import tqdm

from tutee_grader.errors import InputError
from tutee_trainer.adapters import save_adapter, student_card
from tutee_trainer.chat import check_template
from tutee_trainer.method import Settings, load_methods
from tutee_trainer.model import compute_dtype
from tutee_trainer.preset import Count, MethodConfig, Preset, PresetError, Rate, Share

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment
    from tutee_grader.feedback import Level

Row = TypeVar("Row")

TIMES = {"step_time"}  # what TRL logs of a step that differs between equal trainings


class AdapterMethodConfig(MethodConfig):
    """What the sections of all methods that train an adapter have in common.

    `batch` counts examples (dialogs, pairs, completions) per optimizer step, `micro_batch` those that are
    on the device at once. `steps` caps the optimizer steps below what `epochs` asks for.
    """

    learning_rate: Rate
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Share = 0.1
    epochs: Rate = 1.0
    steps: Count | None = None
    batch: Count = 16
    micro_batch: Count = 1
    seed: int = 0

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        if self.batch % self.micro_batch:
            raise ValueError(f"batch ({self.batch}) must be a multiple of micro_batch ({self.micro_batch})")
        return self


class Tracker(Protocol):
    """Hears of a training's figures while it trains."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the figures of a step, by name. Must return at once and must not raise."""


@dataclass(frozen=True)
class TrainingJob:
    """What a method trains on, and the folder it writes.

    `base` is the folder of the base model, `start` that of the model to start from (the same for SFT), and
    `data` the table that the method learns from. Only methods that use the grader need `assignments`, by
    name, and `verdict_cache`, a file. `tracker` is told the figures of each step; what varies between equal
    trainings (times, speeds) goes there and never into the folder.
    """

    preset: Preset
    course: str
    output: Path
    base: Path
    start: Path
    data: Path
    assignments: Mapping[str, Assignment] = field(default_factory=dict)
    verdict_cache: Path | None = None
    tracker: Tracker | None = None


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
    def from_training(
        cls, folder: Path, examples: int, figures: dict[str, Any], started: float, note: str = ""
    ) -> Self:
        """The result with the figures of training.json, `started` by time.perf_counter()."""
        losses = [entry["loss"] for entry in figures["history"]]
        last = losses[-max(1, len(losses) // 10) :]
        return cls(
            folder,
            examples,
            figures["steps"],
            figures["tokens"],
            sum(last) / len(last) if last else float("nan"),  # DAPO takes no step where all rewards agree
            time.perf_counter() - started,
            note,
        )

    def __str__(self) -> str:
        line = f"{self.examples:,} examples -> {self.folder}, {self.steps} steps, {self.tokens:,} tokens"
        return f"{line}, loss {self.loss:.3f}{', ' + self.note if self.note else ''}, {self.seconds:.0f} s"


def check_start(job: TrainingJob, start: str) -> None:
    """Raises InputError where the model to start from, that of method `start`, is missing."""
    if not (job.start / "student.json").exists():
        raise InputError(f"{job.start}: missing; run `tutee train {start}` first")


def shared_arguments(config: AdapterMethodConfig, examples: int | None) -> Settings:
    """The arguments that all of TRL's trainers take; the steps are known once the examples are."""
    import torch

    cuda = torch.cuda.is_available()
    steps = config.steps
    if examples is not None:
        wanted = max(1, math.ceil(config.epochs * examples / config.batch))
        steps = min(wanted, steps or wanted)
    return {
        "per_device_train_batch_size": config.micro_batch,
        "gradient_accumulation_steps": config.batch // config.micro_batch,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": config.warmup,
        "num_train_epochs": config.epochs,
        "max_steps": steps or -1,
        "seed": config.seed,
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


def rows_within_steps(rows: Sequence[Row], config: AdapterMethodConfig, settings: Settings) -> list[Row]:
    """The rows, shuffled, that the steps reach: there is no need to tokenize the others."""
    shuffled = list(rows)
    random.Random(config.seed).shuffle(shuffled)
    return shuffled[: settings["max_steps"] * config.batch]


def resolve(preset: Preset) -> dict[str, Settings]:
    """The training arguments on this machine, by section of the preset, as TRL accepts them.

    Checks the chat template, too. Needs neither a GPU nor weights. Raises PresetError where TRL refuses them.
    """
    import trl

    check_template()
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
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    # TRL still asks transformers by a name that its next major version drops.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)


def run_and_save(
    trainer: Any, job: TrainingJob, folder: Path, method: str, feedback: Level, figures: dict[str, Any]
) -> dict[str, Any]:
    """Trains, and writes the adapter into `folder`; returns training.json, which begins with `figures`."""
    training = {**figures, **run_trainer(trainer, method, job.tracker)}
    base = os.path.relpath(job.base, job.output)
    card = student_card(job.preset, job.course, method, feedback, base)
    save_adapter(folder, trainer.model, trainer.processing_class, card, training)
    return training


def run_trainer(trainer: Any, name: str, tracker: Tracker | None = None) -> dict[str, Any]:
    """Runs one of TRL's trainers with a progress bar; returns losses, steps and tokens."""
    from transformers import PrinterCallback, TrainerCallback

    class Progress(TrainerCallback):
        """A bar with steps done, time left and loss, where there is a terminal; figures for the tracker."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar = tqdm(total=state.max_steps, desc=name, unit="step", disable=None)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
            if "loss" in logs:
                self.bar.set_postfix(loss=f"{logs['loss']:.3f}")
            if tracker is not None and state.is_world_process_zero:
                numbers = {key: float(value) for key, value in logs.items() if isinstance(value, int | float)}
                tracker.log(state.global_step, numbers)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.update()

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.close()

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress)
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {
        "steps": trainer.state.global_step,
        "tokens": int(getattr(trainer, "_total_train_tokens", 0) or trainer.state.num_input_tokens_seen),
        "history": [
            {key: _round(value) for key, value in entry.items() if key not in TIMES} for entry in history
        ],
    }


def _round(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value

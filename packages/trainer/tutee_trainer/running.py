"""Runs one of TRL's trainers to its end: it goes on after a kill, and keeps the best adapter."""

from __future__ import annotations

import gc
import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutee_grader.errors import UnavailableError
from tutee_grader.files import atomic_dir, hash_file
from tutee_trainer.adapters import save_adapter, student_card
from tutee_trainer.checkpoints import Checkpoints
from tutee_trainer.method import Settings, load_methods
from tutee_trainer.training import AdapterMethodConfig, TrainingJob, TrainingResult

if TYPE_CHECKING:
    from tutee_serializer.dialogs.chat import Chat
    from tutee_serializer.dialogs.levels import Feedback

# The figures in a trainer's log that differ from run to run.
_TIMES = ("time", "runtime", "per_second", "flos")
# What libraries written in Rust and C++ say where the disk is full.
_WRITE_FAILED = ("No space left on device", "failed writing file", "Disk quota exceeded")


@dataclass(frozen=True)
class Run:
    """One training of one method.

    `make_trainer` makes the trainer anew from TRL's arguments and a folder for its files. `rows` are the
    examples in their order: with the arguments and the models they decide the result. `validation` are the
    rows, as SFT's, on which the log score chooses the adapter that is kept; without rows it is the last one.
    `examples` counts what the table holds, for the summary. `loss_falls`: whether a loss that grows means
    that training diverges.
    """

    job: TrainingJob
    method: str
    feedback: Feedback
    chat: Chat
    settings: Settings
    rows: list[Any]
    validation: list[dict[str, list[int]]]
    examples: int
    make_trainer: Callable[[Settings, Path], Any]
    smallest_micro_batch: int = 1
    loss_falls: bool = True

    def train(self, figures: dict[str, Any]) -> TrainingResult:
        """Trains, and writes the adapter's folder; `figures` begin its training.json.

        Raises UnavailableError where memory or disk do not suffice, DivergedError where the loss is no
        number.
        """
        import torch
        from accelerate import PartialState

        started = time.perf_counter()
        processes = PartialState(cpu=not torch.cuda.is_available())
        checkpoints = Checkpoints(self.job.checkpoints, self._fingerprint())
        if processes.is_main_process:
            checkpoints.prepare()
        processes.wait_for_everyone()
        trainer = self._fit(checkpoints)
        processes.wait_for_everyone()
        best = checkpoints.best()
        if best:
            checkpoints.load_best(trainer.accelerator.unwrap_model(trainer.model))
        history = [_without_times(entry) for entry in trainer.state.log_history]
        training = {
            **figures,
            "arguments": self.settings,
            "steps": trainer.state.global_step,
            "tokens": int(max((entry.get("num_tokens", 0) for entry in history), default=0)),
            "best": best,
            "history": [entry for entry in history if "loss" in entry],
            "evaluations": [entry for entry in history if "eval_nats" in entry],
        }
        if processes.is_main_process:
            self._save(trainer, training)
            checkpoints.remove()
        seconds = time.perf_counter() - started
        return TrainingResult.from_training(self.job.output, self.examples, training, seconds)

    def _fit(self, checkpoints: Checkpoints) -> Any:
        """The trainer, trained; with smaller micro-batches where memory does not suffice."""
        from tutee_trainer.callbacks import add_callbacks
        from tutee_trainer.log_score import evaluate_by_log_score

        settings = self.settings
        while True:
            trainer = self.make_trainer(settings, checkpoints.folder)
            prepare(trainer.model, settings)
            evaluate_by_log_score(trainer, self.validation, self.chat.end)
            add_callbacks(
                trainer, self.job, self.method, checkpoints, self.loss_falls, self._evaluate_every()
            )
            last = checkpoints.last()
            if last:
                trainer._total_train_tokens = checkpoints.tokens()  # which TRL counts from 0 again
                print(f"{self.method}: goes on from {last}", flush=True)
            try:
                trainer.train(resume_from_checkpoint=str(last) if last else None)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise self._explained(error, checkpoints) from error
                settings = self._halved(settings, error)
            else:
                return trainer
            # The frames of the error hold the tensors that did not fit.
            del trainer
            gc.collect()
            _empty_cache()

    def _evaluate_every(self) -> int | None:
        """The steps from one evaluation to the next; None: nothing is evaluated."""
        if not self.validation:
            return None
        config = self.job.preset.section(load_methods()[self.method].section, AdapterMethodConfig)
        return math.ceil(self.settings["max_steps"] / config.evaluations)

    def _halved(self, settings: Settings, error: Exception) -> Settings:
        size = settings["per_device_train_batch_size"]
        if size // 2 < self.smallest_micro_batch:
            raise UnavailableError(
                f"{self.method}: out of memory with micro-batches of {size} ({str(error).splitlines()[0]}); "
                "lower dialog.max_length, or use a larger machine"
            ) from error
        print(
            f"{self.method}: out of memory with micro-batches of {size}; goes on with {size // 2}", flush=True
        )
        return {
            **settings,
            "per_device_train_batch_size": size // 2,
            "per_device_eval_batch_size": size // 2,
            "gradient_accumulation_steps": settings["gradient_accumulation_steps"] * 2,
        }

    def _explained(self, error: Exception, checkpoints: Checkpoints) -> Exception:
        """The error with the way to go on; a bug stays what it is."""
        words = str(error)
        if isinstance(error, OSError) or any(word in words for word in _WRITE_FAILED):
            return UnavailableError(
                f"{self.method}: cannot write ({words}); {checkpoints.describe()}; free some space, then run "
                "the same command again"
            )
        return error

    def _save(self, trainer: Any, training: dict[str, Any]) -> None:
        job = self.job
        base = os.path.relpath(job.base, job.output)
        card = student_card(job.preset, job.course, self.method, self.feedback, base)
        with atomic_dir(job.output) as folder:
            model = trainer.accelerator.unwrap_model(trainer.model)
            save_adapter(folder, model, self.chat.tokenizer, card, training)

    def _fingerprint(self) -> dict[str, str]:
        """All that decides the result: method, preset, arguments, rows, and the models it starts from.

        The size of a micro-batch does not, so that a run that memory did not suffice for can go on.
        """
        section = load_methods()[self.method].section
        preset = self.job.preset.model_dump(mode="json", include={section, "model", "lora", "dialog"})
        del preset[section]["micro_batch"]
        arguments = {key: value for key, value in self.settings.items() if "per_device" not in key}
        del arguments["gradient_accumulation_steps"]
        text = json.dumps(
            [self.method, preset, arguments, self.rows, self.validation], sort_keys=True, default=str
        )
        folders = {self.job.base, self.job.start, self.job.warm_start or self.job.start}
        models = [path for folder in sorted(folders) for path in sorted(folder.glob("*.safetensors"))]
        hashes = {str(path): hash_file(path) for path in models}
        return {"run": hashlib.sha256(text.encode()).hexdigest(), **hashes}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU's or the machine's memory did not suffice."""
    import torch

    words = ("can't allocate memory", "not enough memory", "CUDA out of memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def prepare(model: Any, settings: Settings) -> None:
    """Undoes what TRL's trainer and PEFT do to a model that costs precision or speed.

    `settings` are the trainer's arguments.
    """
    from tutee_trainer.fused_lora import fuse_lora
    from tutee_trainer.lm_head import score_labels_only

    for parameter in model.parameters():
        if parameter.requires_grad:
            # TRL casts a 4-bit model's adapter to bfloat16, where steps of 1e-5 would round away.
            parameter.data = parameter.data.float()
    fuse_lora(model)
    score_labels_only(model, settings.get("temperature", 1.0))


def _empty_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _without_times(entry: dict[str, Any]) -> dict[str, Any]:
    """A log entry without what differs from run to run, its numbers rounded."""
    return {
        key: float(f"{value:.6g}") if isinstance(value, float) else value
        for key, value in entry.items()
        if not any(time in key for time in _TIMES)
    }

"""What happens beside a training's steps: checkpoints, the best adapter, progress, a check of the loss."""

from __future__ import annotations

import math
import resource
import sys
import time
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from tqdm import tqdm
from transformers import PrinterCallback, TrainerCallback

from tutee_grader.errors import TuteeError
from tutee_grader.progress import LINE_EVERY_S
from tutee_trainer.checkpoints import Checkpoints
from tutee_trainer.training import TrainingJob

# Steps over which losses are averaged before they are compared, and how often the first a later one may be.
WINDOW, DIVERGED = 5, 3.0


class DivergedError(TuteeError):
    """A training whose loss is no number, or has grown far beyond where it began."""


def add_callbacks(
    trainer: Any,
    job: TrainingJob,
    method: str,
    checkpoints: Checkpoints,
    loss_falls: bool,
    evaluate_every: int | None,
) -> None:
    """Gives `trainer` the callbacks of a run, in the order in which they are called.

    `evaluate_every` counts steps; None: there are no evaluations.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(DivergenceCallback(job, method, checkpoints, loss_falls))
    trainer.add_callback(ProgressCallback(job, method))
    trainer.add_callback(CheckpointCallback(job, checkpoints, evaluate_every))


class CheckpointCallback(TrainerCallback):
    """Writes a checkpoint every few minutes; has the model evaluated every few steps, and keeps the best."""

    def __init__(self, job: TrainingJob, checkpoints: Checkpoints, evaluate_every: int | None) -> None:
        self._every_s, self._checkpoints = job.checkpoint_every_s, checkpoints
        self._evaluate_every = evaluate_every
        self._saved = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        is_due = time.monotonic() - self._saved >= self._every_s
        # The clocks of several processes differ; the first one's counts.
        control.should_save = bool(broadcast_object_list([is_due])[0])
        if self._evaluate_every is not None:
            is_last = state.global_step == state.max_steps
            # A warm-up begins with a learning rate of 0: after one step the adapter is still the start's.
            is_start = state.global_step == 1 and args.warmup_steps > 0
            is_due = state.global_step % self._evaluate_every == 0 and not is_start
            control.should_evaluate = is_last or is_due

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        PartialState().wait_for_everyone()
        if PartialState().is_main_process:
            self._checkpoints.complete(state.global_step)
        self._saved = time.monotonic()

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float], **more: Any
    ) -> None:
        best, nats = self._checkpoints.best(), metrics["eval_nats"]
        if PartialState().is_main_process and (best is None or nats < best["eval_nats"]):
            self._checkpoints.save_best(more["model"], state.global_step, nats)


class DivergenceCallback(TrainerCallback):
    """Ends a training whose loss or gradient is no number, or whose loss grows far beyond where it began."""

    def __init__(self, job: TrainingJob, method: str, checkpoints: Checkpoints, loss_falls: bool) -> None:
        self._preset, self._method, self._checkpoints = job.preset.name, method, checkpoints
        self._loss_falls = loss_falls
        self._losses: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        if "loss" not in logs:
            return
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm") or 0.0)
        if not (math.isfinite(loss) and math.isfinite(norm)) and not args.fp16:
            self._end(state.global_step, f"the loss is {loss} and the gradient's norm {norm}")
        self._losses.append(loss)
        first, last = self._losses[:WINDOW], self._losses[-WINDOW:]
        if self._loss_falls and len(self._losses) >= 2 * WINDOW and sum(last) > DIVERGED * sum(first):
            self._end(state.global_step, f"the loss grew from {_mean(first):.3f} to {_mean(last):.3f}")

    def _end(self, step: int, what: str) -> None:
        raise DivergedError(
            f"{self._method}: step {step}: {what}; {self._checkpoints.describe()}; lower "
            f"{self._method}.learning_rate of preset {self._preset}"
        )


class ProgressCallback(TrainerCallback):
    """Steps done, loss, tokens per second and time left: a bar on a terminal, else a line now and then."""

    def __init__(self, job: TrainingJob, method: str) -> None:
        self._tracker, self._method = job.tracker, method
        self._is_main = PartialState().is_main_process

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        hidden = None if self._is_main else True
        self._bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc=self._method, unit="step", disable=hidden
        )
        self._started = self._told = self._last = time.monotonic()
        self._first_step = state.global_step
        # None: a run that goes on learns with its first step how many tokens it has counted.
        self._tokens = None if state.global_step else 0

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        now, tokens = time.monotonic(), int(logs.get("num_tokens", self._tokens or 0))
        numbers = {key: float(value) for key, value in logs.items() if isinstance(value, int | float)}
        if "loss" in logs:
            numbers["memory_gb"] = peak_memory() / 1e9
            if self._tokens is not None:
                numbers["tokens_per_second"] = (tokens - self._tokens) / max(now - self._last, 1e-9)
                self._show(state, numbers, now)
            self._last, self._tokens = now, tokens
        if self._tracker and self._is_main:
            self._tracker.log(state.global_step, numbers)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._last = time.monotonic()  # the time of an evaluation is no part of a step's

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._bar.update()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._bar.close()

    def _show(self, state: Any, numbers: dict[str, float], now: float) -> None:
        self._bar.set_postfix(loss=f"{numbers['loss']:.3f}")
        if sys.stderr.isatty() or not self._is_main or now - self._told < LINE_EVERY_S:
            return
        self._told = now
        done = state.global_step - self._first_step
        left = (now - self._started) / max(done, 1) * (state.max_steps - state.global_step)
        print(
            f"{self._method}: step {state.global_step} of {state.max_steps}, loss {numbers['loss']:.3f}, "
            f"{numbers['tokens_per_second']:.0f} tokens/s, {left / 60:.1f} minutes left",
            flush=True,
        )


def peak_memory() -> int:
    """The most memory this process has had, in bytes: the GPU's where there is one, else the machine's."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)

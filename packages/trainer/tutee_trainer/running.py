"""Running one of TRL's trainers: quiet, with a progress bar, and what came of it."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tutee_trainer.adapters import Trained


def hush() -> None:
    """Silences the libraries' own bars and advice; call it before `datasets` is imported."""
    import transformers

    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    # TRL still asks transformers by a name that its next major version drops.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)


def run(trainer: Any, name: str) -> dict[str, Any]:
    """Trains, and returns what training.json says of it: losses, steps, tokens, seconds, figures."""
    from transformers import PrinterCallback, TrainerCallback

    class Bar(TrainerCallback):
        """Steps done, time left, loss; nothing where there is no terminal."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar = tqdm(total=state.max_steps, desc=name, unit="step", disable=None)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
            if "loss" in logs:
                self.bar.set_postfix(loss=f"{logs['loss']:.3f}")

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.update()

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.close()

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Bar)
    started, cpu = time.perf_counter(), time.process_time()
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {
        "steps": trainer.state.global_step,
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "tokens": int(getattr(trainer, "_total_train_tokens", 0) or trainer.state.num_input_tokens_seen),
        "history": [{key: _round(value) for key, value in entry.items()} for entry in history],
    }


def trained(folder: Path, examples: int, training: dict[str, Any], started: float, note: str = "") -> Trained:
    losses = [entry["loss"] for entry in training["history"]]
    last = losses[-max(1, len(losses) // 10) :]
    return Trained(
        folder,
        examples,
        training["steps"],
        training["tokens"],
        sum(last) / len(last) if last else float("nan"),  # no step, where no prompt had anything to teach
        time.perf_counter() - started,
        note,
    )


def _round(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value

"""What a training run leaves on the disk while it trains: the last checkpoint and the best adapter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutee_grader.files import atomic_dir, atomic_file

RUN, COMPLETE, BEST = "run.json", "complete", "best"


@dataclass(frozen=True)
class Checkpoints:
    """The folder of one run's checkpoints. `run` names all that decides the run's result.

    A run of the same name goes on from the last complete checkpoint; the checkpoints of any other are
    removed. Only the main process of several may write.
    """

    folder: Path
    run: Mapping[str, Any]

    def prepare(self) -> None:
        """Makes the folder, without what another run left in it."""
        file = self.folder / RUN
        if not file.exists() or json.loads(file.read_text(encoding="utf-8")) != self.run:
            self.remove()
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(file) as part:
                part.write_text(json.dumps(self.run), encoding="utf-8")

    def last(self) -> Path | None:
        """The last checkpoint that was written to its end; None: there is none."""
        complete = [path.parent for path in self.folder.glob(f"checkpoint-*/{COMPLETE}")]
        return max(complete, key=_step, default=None)

    def describe(self) -> str:
        """Which checkpoint a run can go on from, in words."""
        last = self.last()
        return f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"

    def tokens(self) -> int:
        """The tokens that had been trained on at the last checkpoint."""
        last = self.last()
        if last is None:
            return 0
        history = json.loads((last / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
        return int(max((entry.get("num_tokens", 0) for entry in history), default=0))

    def complete(self, step: int) -> None:
        """Notes that the checkpoint of `step` is complete, and removes those before it."""
        checkpoint = self.folder / f"checkpoint-{step}"
        (checkpoint / COMPLETE).touch()
        for other in self.folder.glob("checkpoint-*"):
            if other != checkpoint:
                shutil.rmtree(other)

    def save_best(self, model: Any, step: int, nats: float) -> None:
        """Keeps the adapter of `step`, whose log score, in nats per submission, is the lowest so far."""
        from peft import get_peft_model_state_dict
        from safetensors.torch import save_file

        with atomic_dir(self.folder / BEST) as folder:
            save_file(
                get_peft_model_state_dict(model, adapter_name="default"), folder / "adapter.safetensors"
            )
            text = json.dumps({"step": step, "eval_nats": nats})
            (folder / "best.json").write_text(text, encoding="utf-8")

    def best(self) -> dict[str, Any] | None:
        """Step and log score of the best adapter; None: none was measured."""
        file = self.folder / BEST / "best.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def load_best(self, model: Any) -> None:
        """Gives `model` the best adapter's weights."""
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        set_peft_model_state_dict(model, load_file(self.folder / BEST / "adapter.safetensors"), "default")

    def remove(self) -> None:
        """Removes the folder: the run has ended well, or is another one."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])

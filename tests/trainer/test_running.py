"""A training run in trouble: memory, a loss that is no number, a full disk; and one of two processes."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tutee_grader.errors import UnavailableError
from tutee_trainer.callbacks import DivergedError
from tutee_trainer.preset import Preset
from tutee_trainer.training import TrainingResult


@pytest.fixture
def course(based: Path, tmp_path: Path) -> Path:
    """A folder with a base and dialogs."""
    shutil.copytree(based / "base", tmp_path / "base")
    shutil.copyfile(based / "dialogs.parquet", tmp_path / "dialogs.parquet")
    return tmp_path


def changed(preset: Preset, **sft: Any) -> Preset:
    sections = preset.model_dump()
    return Preset.parse({**sections, "sft": {**sections["sft"], **sft}})


def figures_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "training.json").read_text())


def test_the_speed_of_every_step_is_told(
    course: Path, preset: Preset, train: Callable[..., TrainingResult]
) -> None:
    class Tracker:
        def __init__(self) -> None:
            self.told: dict[int, dict[str, float]] = {}

        def log(self, step: int, values: dict[str, float]) -> None:
            self.told.setdefault(step, {}).update(values)

    tracker = Tracker()
    result = train(course, "sft", preset=changed(preset, steps=3), tracker=tracker)
    assert sorted(tracker.told) == list(range(1, result.steps + 1))
    assert all(values["tokens_per_second"] > 0 for values in tracker.told.values())


def test_out_of_memory_halves_the_micro_batch_and_goes_on(
    course: Path,
    preset: Preset,
    train: Callable[..., TrainingResult],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The memory is a fake: it suffices for two rows."""
    from transformers import Qwen3Model

    forward = Qwen3Model.forward

    def limited(self: Any, input_ids: Any = None, **inputs: Any) -> Any:
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, input_ids=input_ids, **inputs)

    train(course, "sft", preset=changed(preset, micro_batch=2))
    expected = figures_of(course / "sft")
    monkeypatch.setattr(Qwen3Model, "forward", limited)
    train(course, "sft", preset=changed(preset, micro_batch=4))
    assert "out of memory with micro-batches of 4; goes on with 2" in capsys.readouterr().out
    losses = [[entry["loss"] for entry in run["history"]] for run in (expected, figures_of(course / "sft"))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_memory_for_not_even_one_row_is_an_error_with_a_way_out(
    course: Path, preset: Preset, train: Callable[..., TrainingResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory is a fake: it suffices for nothing."""
    from transformers import Qwen3Model

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Qwen3Model, "forward", full)
    with pytest.raises(UnavailableError, match=r"micro-batches of 1.*max_length"):
        train(course, "sft")


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_last_checkpoint(
    course: Path, preset: Preset, train: Callable[..., TrainingResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import SFTTrainer

    compute_loss = SFTTrainer.compute_loss

    def fail(self: Any, *arguments: Any, **keywords: Any) -> Any:
        loss = compute_loss(self, *arguments, **keywords)
        return loss * float("nan") if self.state.global_step == 1 else loss

    monkeypatch.setattr(SFTTrainer, "compute_loss", fail)
    with pytest.raises(DivergedError, match=r"step 2: the loss is nan.*checkpoint-1.*learning_rate"):
        train(course, "sft", checkpoint_every_s=0)


def test_a_loss_that_grows_far_ends_the_run(
    course: Path, preset: Preset, train: Callable[..., TrainingResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is a fake: it grows with every step."""
    from trl import SFTTrainer

    compute_loss = SFTTrainer.compute_loss

    def grow(self: Any, *arguments: Any, **keywords: Any) -> Any:
        return compute_loss(self, *arguments, **keywords) * (1 + self.state.global_step)

    monkeypatch.setattr(SFTTrainer, "compute_loss", grow)
    growing = changed(preset, batch=1, micro_batch=1, steps=20, epochs=9, evaluations=0)
    # Of steps 1 to 5 the mean is 3 times a loss, of steps 8 to 12 it is 10 times.
    with pytest.raises(DivergedError, match=r"step 1[12]: the loss grew from"):
        train(course, "sft", preset=growing)


def test_a_full_disk_names_the_last_checkpoint_and_the_next_run_goes_on(
    course: Path,
    train: Callable[..., TrainingResult],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The disk is a fake: it is full at the second checkpoint."""
    from trl import SFTTrainer

    save, saved = SFTTrainer._save_checkpoint, []

    def full(self: Any, *arguments: Any) -> None:
        saved.append(self.state.global_step)
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, *arguments)

    monkeypatch.setattr(SFTTrainer, "_save_checkpoint", full)
    with pytest.raises(UnavailableError, match=r"No space left.*checkpoint-1.*same command"):
        train(course, "sft", checkpoint_every_s=0)
    train(course, "sft", checkpoint_every_s=0)
    assert "checkpoint-1" in capsys.readouterr().out
    assert (course / "sft" / "adapter_model.safetensors").exists()


def test_an_adapter_stays_in_float32_where_trl_would_round_its_steps_away(
    course: Path, train: Callable[..., TrainingResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The 4-bit model is a fake: only its mark, by which TRL casts the adapter to bfloat16."""
    import tutee_trainer.methods.sft as sft

    new_adapter = sft.new_adapter

    def marked(*arguments: Any) -> Any:
        model = new_adapter(*arguments)
        model.is_loaded_in_4bit = True
        return model

    monkeypatch.setattr(sft, "new_adapter", marked)
    train(course, "sft")
    weights = load_file(course / "sft" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    # Values that bfloat16 does not have: the weights were never rounded to it.
    assert any((tensor != tensor.bfloat16().float()).any() for tensor in weights.values())


TWO = """
import sys
from pathlib import Path
from tutee_trainer.method import load_methods
from tutee_trainer.preset import Preset
from tutee_trainer.training import TrainingJob
folder = Path(sys.argv[1])
load_methods()["sft"].train(TrainingJob(
    preset=Preset.load(folder / "micro.yaml"), course="synthetic", output=folder / "sft",
    base=folder / "base", start=folder / "base", data=folder / "dialogs.parquet",
    dialogs=folder / "dialogs.parquet",
    checkpoints=folder / "training",
))
"""


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(course: Path, preset: Preset) -> None:
    sections = preset.model_dump(mode="json")
    sections["sft"] |= {"batch": 4, "micro_batch": 1, "steps": 3, "evaluations": 1, "epochs": 3}
    sections.pop("name")
    (course / "micro.yaml").write_text(yaml.safe_dump(sections))
    (course / "two.py").write_text(TWO)
    found = {}
    for processes in (1, 2):
        launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        done = subprocess.run(
            [sys.executable, "-m", *launcher, str(course / "two.py"), str(course)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            timeout=240,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found[processes] = figures_of(course / "sft")
        shutil.rmtree(course / "sft")
    one, two = ([entry["loss"] for entry in found[number]["history"]] for number in (1, 2))
    assert two == pytest.approx(one, rel=1e-5)
    assert found[2]["best"]["eval_nats"] == pytest.approx(found[1]["best"]["eval_nats"], rel=1e-5)
    assert found[2]["arguments"]["gradient_accumulation_steps"] == 2

"""A training that is killed goes on by the same command, and ends with the weights it would have had."""

import hashlib
import json
import multiprocessing
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tutee_grader import Assignment
from tutee_trainer.pairs import PairsConfig, write_pairs
from tutee_trainer.preset import Preset
from tutee_trainer.running import Run
from tutee_trainer.training import TrainingJob, TrainingResult

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["peft", "trl", "tutee_trainer.method"])  # once, not for each of the killed ones
STEPS = 4
METHODS = ("sft", "dpo", "kto", "dapo")
# Trains in a process of its own, which kills itself with SIGKILL: there is no end to clean up at.
SCRIPT = """
import os, signal, sys
from tutee_grader import Assignment
from tutee_trainer.checkpoints import Checkpoints
from tutee_trainer.method import load_methods
from tutee_trainer.preset import Preset
from tutee_trainer.training import TrainingJob

sys.stderr = open(folder / "stderr", "w", buffering=1)

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

class Tracker:
    def log(self, at, values):
        if moment == "step" and at == step:
            kill()

if moment == "checkpoint":
    complete = Checkpoints.complete
    def complete_or_die(self, at):
        if at == step:
            (self.folder / f"checkpoint-{at}" / "trainer_state.json").unlink()  # as one cut off in the middle
            kill()
        complete(self, at)
    Checkpoints.complete = complete_or_die

method = load_methods()[name]
assignments = {path.name: Assignment.load(path) for path in sorted((folder / "assignments").iterdir())}
method.train(TrainingJob(
    preset=Preset.load(folder / "micro.yaml"), course="synthetic", output=folder / name, base=folder / "base",
    start=folder / (method.start or "base"), data=folder / f"{method.learns_from}.parquet",
    dialogs=folder / "dialogs.parquet",
    checkpoints=folder / "training" / name, assignments=assignments if method.uses_grader else {},
    tracker=Tracker(), checkpoint_every_s=0,
))
"""


@pytest.fixture(scope="module")
def run(train: Callable[..., TrainingResult]) -> Callable[[Path, str], TrainingResult]:
    """Trains a method in a folder with its preset and assignments, to the end."""

    def run(folder: Path, method: str) -> TrainingResult:
        assignments = {
            path.name: Assignment.load(path) for path in sorted((folder / "assignments").iterdir())
        }
        inputs = {"assignments": assignments} if method == "dapo" else {}
        return train(
            folder, method, preset=Preset.load(folder / "micro.yaml"), checkpoint_every_s=0, **inputs
        )

    return run


@pytest.fixture(scope="module")
def course(
    based: Path,
    preset: Preset,
    write_assignments: Callable[[Path], Any],
    run: Callable[[Path, str], TrainingResult],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with a base, SFT, pairs and a preset: dropout, and several micro-batches a step."""
    sections = preset.model_dump()
    sections["lora"]["dropout"] = 0.1
    for name in METHODS:
        sections[name] |= {"steps": STEPS, "batch": 4, "micro_batch": 2}
    sections["dapo"] |= {"samples": 2, "rounds": 2}
    changed = Preset.parse(sections)
    folder = tmp_path_factory.mktemp("resuming")
    for name in ("base", "dialogs.parquet"):
        copy = shutil.copytree if (based / name).is_dir() else shutil.copyfile
        copy(based / name, folder / name)
    sections.pop("name")
    (folder / "micro.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(sections))))
    write_assignments(folder / "assignments")
    write_pairs(PairsConfig(), changed, folder / "dialogs.parquet", folder / "pairs.parquet")
    run(folder, "sft")
    return folder


def kill(folder: Path, method: str, moment: str, step: int) -> None:
    arguments = {"folder": folder, "name": method, "moment": moment, "step": step}
    process = FORKS.Process(target=exec, args=(SCRIPT, arguments))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL, (folder / "stderr").read_text()


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "moment"),
    [("sft", "step"), ("sft", "checkpoint"), ("dpo", "step"), ("kto", "step"), ("dapo", "checkpoint")],
)
def test_a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(
    course: Path,
    run: Callable[[Path, str], TrainingResult],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    method: str,
    moment: str,
) -> None:
    whole, killed = (shutil.copytree(course, tmp_path / name) for name in ("whole", "killed"))
    shutil.rmtree(whole / method, ignore_errors=True)
    shutil.rmtree(killed / method, ignore_errors=True)
    run(whole, method)
    kill(killed, method, moment, 3)
    run(killed, method)
    assert f"goes on from {killed}" in (out := capsys.readouterr().out) and "checkpoint-2" in out
    assert contents(killed / method) == contents(whole / method)
    assert not (killed / "training" / method).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "key", "value", "goes_on"),
    [("sft", "learning_rate", 2e-2, False), ("dapo", "rounds", 1, False), ("sft", "micro_batch", 1, True)],
)
def test_a_run_with_another_preset_begins_anew_unless_only_its_micro_batch_is_another(
    course: Path,
    run: Callable[[Path, str], TrainingResult],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    method: str,
    key: str,
    value: float,
    goes_on: bool,
) -> None:
    folder = shutil.copytree(course, tmp_path / "course")
    kill(folder, method, "step", 3)
    preset = yaml.safe_load((folder / "micro.yaml").read_text())
    preset[method][key] = value
    (folder / "micro.yaml").write_text(yaml.safe_dump(preset))
    run(folder, method)
    assert ("goes on from" in capsys.readouterr().out) == goes_on
    figures = json.loads((folder / method / "training.json").read_text())
    assert [entry["step"] for entry in figures["history"]] == list(range(1, figures["steps"] + 1))


def test_the_type_that_it_computes_in_is_part_of_a_run(course: Path, tmp_path: Path) -> None:
    """`dtype: auto` may choose another one after a kill."""
    job = TrainingJob(
        Preset.load(course / "micro.yaml"), "synthetic", tmp_path, course / "base", course / "base",
        course / "dialogs.parquet", course / "dialogs.parquet", tmp_path,
    )  # fmt: skip

    def run_of(**settings: Any) -> dict[str, str]:
        same = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "bf16": False}
        return Run(job, "sft", "summary", None, same | settings, [], [], 0, lambda *_: None)._fingerprint()

    assert run_of(bf16=True) != run_of()
    assert run_of(per_device_train_batch_size=1, gradient_accumulation_steps=4) == run_of()

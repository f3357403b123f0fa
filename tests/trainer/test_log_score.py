"""The log score of validation students: its value, and the adapter that it keeps, by every method."""

import errno
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from tutee_grader.errors import UnavailableError
from tutee_trainer import log_score as module
from tutee_trainer.adapters import load_adapter
from tutee_trainer.log_score import log_score
from tutee_trainer.method import load_methods
from tutee_trainer.model import load_chat, load_model
from tutee_trainer.preset import Preset
from tutee_trainer.rows import validation_rows
from tutee_trainer.training import AdapterMethodConfig, TrainingJob, TrainingResult

METHODS = ("sft", "para", "dpo", "kto", "dapo")


@pytest.fixture
def course(tuned: Path, tmp_path: Path) -> Path:
    """A folder with dialogs, pairs, base and SFT."""
    return shutil.copytree(tuned, tmp_path / "course")


def changed(preset: Preset, method: str, **values: Any) -> Preset:
    sections = preset.model_dump()
    return Preset.parse({**sections, method: {**sections[method], **values}})


def figures_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "training.json").read_text())


def rows_of(preset: Preset, folder: Path, method: str = "sft") -> list[dict[str, list[int]]]:
    """The validation rows of a method."""
    job = TrainingJob(
        preset, "synthetic", folder / method, folder / "base", folder / "base", folder / "dialogs.parquet",
        folder / "dialogs.parquet", folder / "training",
    )  # fmt: skip
    config = preset.section(load_methods()[method].section, AdapterMethodConfig)
    return validation_rows(job, config, "summary", load_chat(preset, folder / "base"))


def nats(preset: Preset, base: Path, adapter: Path, rows: Sequence[dict[str, list[int]]]) -> float:
    """Nats per submission from all the logits of each row; a submission is a run of labels."""
    model = load_adapter(load_model(preset, base), adapter).eval()
    total, submissions = 0.0, 0
    for row in rows:
        with torch.no_grad():
            chances = model(input_ids=torch.tensor([row["input_ids"]])).logits[0].double().log_softmax(-1)
        labels = row["labels"]
        for place in range(1, len(labels)):
            if labels[place] >= 0:
                total -= float(chances[place - 1, labels[place]])
                submissions += labels[place - 1] < 0
    return total / submissions


def test_it_is_the_sum_over_a_turn_and_the_mean_over_turns(tuned: Path, preset: Preset) -> None:
    chat, rows = load_chat(preset, tuned / "base"), rows_of(preset, tuned)
    model = load_adapter(load_model(preset, tuned / "base"), tuned / "sft").eval()
    score = log_score(model, rows, chat.end, Accelerator(cpu=True))
    assert score["eval_nats"] == pytest.approx(nats(preset, tuned / "base", tuned / "sft", rows), rel=1e-5)
    turns = [sum(message >= 0 for message in row["labels"]) for row in rows]
    submissions = sum(row["labels"].count(chat.end) for row in rows)
    assert score["eval_loss"] * sum(turns) == pytest.approx(score["eval_nats"] * submissions)


def test_the_rows_are_those_of_validation_students_and_the_same_for_every_method(
    tuned: Path, preset: Preset
) -> None:
    rows, end = rows_of(preset, tuned), load_chat(preset, tuned / "base").end
    dialogs = pl.read_parquet(tuned / "dialogs.parquet").filter(split="validation", feedback="summary")
    assert sum(row["labels"].count(end) for row in rows) == dialogs["turns"].list.len().sum()
    assert all(rows_of(preset, tuned, method) == rows for method in METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_measures_it_and_keeps_the_lowest(
    course: Path,
    preset: Preset,
    train: Callable[..., TrainingResult],
    write_assignments: Callable[[Path], Any],
    tmp_path: Path,
    method: str,
) -> None:
    section = load_methods()[method].section
    inputs = {"assignments": write_assignments(tmp_path / "a")} if method == "dapo" else {}
    train(course, method, preset=changed(preset, section, steps=4, epochs=9, evaluations=2), **inputs)
    figures = figures_of(course / method)
    assert [entry["step"] for entry in figures["evaluations"]] == [2, 4]  # and never the beginning
    assert figures["best"]["eval_nats"] == pytest.approx(
        min(entry["eval_nats"] for entry in figures["evaluations"]), rel=1e-5
    )


def test_dpo_keeps_the_adapter_that_is_most_like_students_not_the_one_that_prefers_best(
    course: Path, preset: Preset, train: Callable[..., TrainingResult]
) -> None:
    """Many steps lower the preference loss long after the student has begun to grow unlike students."""
    steps = {"steps": 16, "epochs": 99, "batch": 8, "learning_rate": 1e-3, "schedule": "constant"}
    long = changed(preset, "dpo", **steps, warmup=0.0, evaluations=4)
    train(course, "dpo", preset=long)
    figures = figures_of(course / "dpo")
    evaluations = figures["evaluations"]
    likeliest = min(evaluations, key=lambda entry: entry["eval_nats"])
    assert min(evaluations, key=lambda entry: entry["eval_loss"])["step"] > likeliest["step"]
    assert figures["best"]["step"] == likeliest["step"]
    kept = nats(long, course / "base", course / "dpo", rows_of(long, course))
    assert kept == pytest.approx(likeliest["eval_nats"], rel=1e-4)


@pytest.fixture
def rising(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log score is a fake: it rises from step to step."""
    scores = iter([1.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr(module, "log_score", lambda *_: {"eval_nats": next(scores), "eval_loss": 0.0})


@pytest.mark.usefixtures("rising")
def test_the_best_adapter_is_kept_not_the_last(
    course: Path, preset: Preset, train: Callable[..., TrainingResult]
) -> None:
    once = changed(preset, "sft", steps=3, evaluations=3, batch=2, micro_batch=2, warmup=0.0)
    train(course, "sft", preset=changed(once, "sft", evaluations=0))
    assert figures_of(course / "sft")["best"] is None
    last = load_file(course / "sft" / "adapter_model.safetensors")
    train(course, "sft", preset=once)
    assert figures_of(course / "sft")["best"] == {"step": 1, "eval_nats": 1.0}
    kept = load_file(course / "sft" / "adapter_model.safetensors")
    assert any((kept[name] != last[name]).any() for name in kept)


@pytest.mark.usefixtures("rising")
def test_the_adapter_that_training_starts_from_is_never_kept(
    course: Path, preset: Preset, train: Callable[..., TrainingResult]
) -> None:
    """With a warm-up it still is that adapter after the first step, whose learning rate is 0."""
    train(course, "kto", preset=changed(preset, "kto", steps=3, evaluations=3, warmup=0.1))
    assert figures_of(course / "kto")["history"][0]["learning_rate"] == 0
    assert figures_of(course / "kto")["best"]["step"] == 2
    start, kept = (load_file(course / name / "adapter_model.safetensors") for name in ("sft", "kto"))
    assert any((kept[name] != start[name]).any() for name in kept)


@pytest.mark.usefixtures("rising")
def test_a_run_that_goes_on_keeps_the_best_adapter_from_before(
    course: Path, preset: Preset, train: Callable[..., TrainingResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is a fake: it is full at the third checkpoint."""
    from trl import DPOTrainer

    save, saved = DPOTrainer._save_checkpoint, []

    def full(self: Any, *arguments: Any) -> None:
        saved.append(self.state.global_step)
        if len(saved) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, *arguments)

    monkeypatch.setattr(DPOTrainer, "_save_checkpoint", full)
    often = changed(preset, "dpo", steps=3, evaluations=3, warmup=0.0)
    with pytest.raises(UnavailableError, match="No space left"):
        train(course, "dpo", preset=often, checkpoint_every_s=0)
    train(course, "dpo", preset=often, checkpoint_every_s=0)
    figures = figures_of(course / "dpo")
    assert saved == [1, 2, 3, 3]  # it went on after step 2
    assert figures["best"] == {"step": 1, "eval_nats": 1.0}
    assert [entry["eval_nats"] for entry in figures["evaluations"]] == [1.0, 2.0, 4.0]

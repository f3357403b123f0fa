"""SFT that begins from an adapter of before: what it starts with, and what it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tutee_grader.errors import InputError
from tutee_trainer.preset import Preset
from tutee_trainer.training import TrainingResult


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in json.loads((folder / "training.json").read_text())["history"]]


def test_it_begins_where_the_adapter_ended(
    tuned: Path, preset: Preset, train: Callable[..., TrainingResult], tmp_path: Path
) -> None:
    cold, warm = (shutil.copytree(tuned, tmp_path / name) for name in ("cold", "warm"))
    train(cold, "sft")
    train(warm, "sft", warm_start=tuned / "sft")
    assert losses(warm / "sft")[0] < losses(cold / "sft")[0]


def test_an_adapter_on_other_weights_is_refused(
    tuned: Path, preset: Preset, train: Callable[..., TrainingResult], tmp_path: Path
) -> None:
    """Random weights that were trained anew, as a tiny preset's are."""
    folder = shutil.copytree(tuned, tmp_path / "course")
    sections = preset.model_dump()
    sections["base"]["seed"] = 1
    train(folder, "base", preset=Preset.parse(sections))
    with pytest.raises(InputError, match=r"another base model.*warm_start"):
        train(folder, "sft", warm_start=tuned / "sft")

"""The methods on a micro model: what they write, what they start from, and what they refuse."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard
from tutee_trainer.adapters import load_adapter
from tutee_trainer.model import load_model
from tutee_trainer.preset import Preset
from tutee_trainer.training import TrainingResult

IDS = torch.tensor([[5, 40, 41, 42, 300, 7, 8, 9]])


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.inference_mode():
        return model(input_ids=IDS).logits


def figures_of(folder: Path, method: str) -> dict[str, Any]:
    return json.loads((folder / method / "training.json").read_text())


def test_the_base_learns_from_training_students_only(based: Path, preset: Preset) -> None:
    figures = figures_of(based, "base")
    assert figures["dialogs"] == 10  # of 12: one student of six is for validation
    assert figures["tokens"] >= preset.methods["base"].tokens
    assert figures["history"][-1]["validation_loss"] < math.log(440)


def test_the_base_keeps_its_best_weights(based: Path) -> None:
    figures = figures_of(based, "base")
    assert figures["validation_loss"] == pytest.approx(
        min(entry["validation_loss"] for entry in figures["history"]), abs=1e-4
    )


@pytest.mark.parametrize("method", ["base", "sft"])
def test_the_card_names_the_base_and_the_dialogs_lengths(tuned: Path, preset: Preset, method: str) -> None:
    card = StudentCard.load(tuned / method)
    assert (card.method, card.course, card.preset, card.feedback) == (method, "synthetic", "micro", "summary")
    assert Path(card.base_of(tuned / method)) == (tuned / "base").resolve()
    assert (card.max_length, card.max_new_tokens) == (preset.dialog.max_length, preset.dialog.max_new_tokens)


def test_sft_changes_the_adapter_and_writes_its_arguments(tuned: Path, preset: Preset) -> None:
    figures = figures_of(tuned, "sft")
    assert figures["steps"] == preset.methods["sft"].steps
    assert figures["tokens"] > 0
    assert figures["arguments"]["learning_rate"] == preset.methods["sft"].learning_rate
    model = load_model(preset, tuned / "base")
    before = logits(model)
    assert not torch.allclose(logits(load_adapter(model, tuned / "sft")), before)


def test_para_trains_on_dialogs_without_feedback(based: Path, train: Callable[..., TrainingResult]) -> None:
    train(based, "para")
    card = StudentCard.load(based / "para")
    assert (card.method, card.feedback) == ("para", "none")
    assert figures_of(based, "para")["dialogs"] == 10


def test_dpo_starts_at_ln_2_and_leaves_one_adapter(
    tuned: Path, preset: Preset, train: Callable[..., TrainingResult]
) -> None:
    train(tuned, "dpo")
    figures = figures_of(tuned, "dpo")
    assert figures["history"][0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert figures["evaluations"][-1]["eval_loss"] < math.log(2) - 1e-3
    names = {path.name for path in (tuned / "dpo").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "student.json", "training.json"} <= names
    assert "ref" not in names
    config = json.loads((tuned / "dpo" / "adapter_config.json").read_text())
    assert config["r"] == preset.methods["dpo"].rank


def test_dapo_rewards_by_the_grader(
    tuned: Path,
    train: Callable[..., TrainingResult],
    tmp_path: Path,
    write_assignments: Callable[[Path], Any],
) -> None:
    result = train(tuned, "dapo", assignments=write_assignments(tmp_path))
    figures = figures_of(tuned, "dapo")
    assert figures["steps"] == 1
    assert -0.75 <= figures["history"][0]["reward"] <= 2
    assert "reward" in result.note


@pytest.mark.parametrize(
    ("method", "missing"),
    [("sft", "train base"), ("para", "train base"), ("dpo", "pairs"), ("dapo", "train sft")],
)
def test_a_method_out_of_order_names_the_command_to_run(
    tmp_path: Path, based: Path, train: Callable[..., TrainingResult], method: str, missing: str
) -> None:
    (tmp_path / "dialogs.parquet").write_bytes((based / "dialogs.parquet").read_bytes())
    with pytest.raises(InputError, match=f"tutee {missing}"):
        train(tmp_path, method)


def test_pairs_without_an_sft_adapter_name_the_command_to_run(
    tmp_path: Path, tuned: Path, train: Callable[..., TrainingResult]
) -> None:
    (tmp_path / "pairs.parquet").write_bytes((tuned / "pairs.parquet").read_bytes())
    with pytest.raises(InputError, match="tutee train sft"):
        train(tmp_path, "dpo")


def test_dialogs_of_another_format_are_refused(
    tmp_path: Path, based: Path, train: Callable[..., TrainingResult]
) -> None:
    dialogs = pl.read_parquet(based / "dialogs.parquet")
    dialogs.with_columns(format=pl.lit("code")).write_parquet(tmp_path / "dialogs.parquet")
    with pytest.raises(InputError, match="format edits"):
        train(tmp_path, "base")

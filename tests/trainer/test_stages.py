"""The stages on a micro model: what they write, what it starts from, and that it loads back."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from flows.places import Places
from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard
from tutee_trainer.adapters import load_adapter, new_adapter, save_adapter
from tutee_trainer.model import load_base
from tutee_trainer.preset import Preset

IDS = torch.tensor([[5, 40, 41, 42, 300, 7, 8, 9]])


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.inference_mode():
        return model(input_ids=IDS).logits


def training(places: Places, method: str) -> dict[str, Any]:
    return json.loads((places.model(method) / "training.json").read_text())


def test_the_base_learns_from_training_students_only(based: Places, preset: Preset) -> None:
    figures = training(based, "base")
    assert figures["dialogs"] == 10  # of 12: one student of six is held out
    assert figures["tokens"] >= preset.base.tokens  # type: ignore[union-attr]
    assert figures["history"][-1]["validation_loss"] < math.log(440)


def test_the_base_keeps_its_best_weights(based: Places) -> None:
    figures = training(based, "base")
    assert figures["validation_loss"] == pytest.approx(
        min(entry["validation_loss"] for entry in figures["history"]), abs=1e-4
    )


@pytest.mark.parametrize(("method", "feedback"), [("base", "summary"), ("sft", "summary")])
def test_the_card_says_how_to_speak_to_the_student(
    tuned: Places, preset: Preset, method: str, feedback: str
) -> None:
    card = StudentCard.load(tuned.model(method))
    assert (card.method, card.course, card.preset, card.feedback) == (method, "synthetic", "micro", feedback)
    assert Path(card.base_of(tuned.model(method))) == tuned.model("base").resolve()
    assert (card.max_length, card.max_new_tokens) == (preset.dialog.max_length, preset.dialog.max_new_tokens)


def test_an_adapter_loads_back_with_the_same_logits(based: Places, preset: Preset, tmp_path: Path) -> None:
    model, tokenizer = load_base(preset, based.model("base"))
    before = logits(model)
    adapted = new_adapter(model, preset.lora, seed=0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    after = logits(adapted)
    save_adapter(tmp_path, adapted, tokenizer, preset, "synthetic", "sft", "summary", {})
    again, _ = load_base(preset, based.model("base"))
    assert not torch.allclose(before, after)
    assert torch.equal(logits(load_adapter(again, tmp_path)), after)


def test_a_widened_adapter_computes_the_same(based: Places, preset: Preset, tmp_path: Path) -> None:
    model, tokenizer = load_base(preset, based.model("base"))
    adapted = new_adapter(model, preset.lora, seed=0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    expected = logits(adapted)
    save_adapter(tmp_path, adapted, tokenizer, preset, "synthetic", "sft", "summary", {})
    again, _ = load_base(preset, based.model("base"))
    wide = load_adapter(again, tmp_path, rank=8, alpha=8)
    shapes = {parameter.shape[0] for name, parameter in wide.named_parameters() if "lora_A" in name}
    assert shapes == {8}
    torch.testing.assert_close(logits(wide), expected, rtol=1e-4, atol=1e-5)


def test_sft_changes_the_adapter_and_writes_its_arguments(tuned: Places, preset: Preset) -> None:
    figures = training(tuned, "sft")
    assert figures["steps"] == preset.sft.steps
    assert figures["tokens"] > 0
    assert figures["arguments"]["learning_rate"] == preset.sft.learning_rate
    model, _ = load_base(preset, tuned.model("base"))
    before = logits(model)
    assert not torch.allclose(logits(load_adapter(model, tuned.model("sft"))), before)


def test_dpo_starts_at_ln_2_and_leaves_one_adapter(tuned: Places, preset: Preset) -> None:
    from tutee_trainer.dpo import train_dpo

    train_dpo(preset, tuned)
    figures = training(tuned, "dpo")
    assert figures["history"][0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert figures["history"][-1]["loss"] < math.log(2)
    names = {path.name for path in tuned.model("dpo").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "student.json", "training.json"} <= names
    assert "ref" not in names
    assert json.loads((tuned.model("dpo") / "adapter_config.json").read_text())["r"] == preset.dpo.rank


def test_dapo_rewards_by_the_grader(
    tuned: Places, preset: Preset, tmp_path: Path, write_assignments: Callable[[Path], Any]
) -> None:
    from tutee_trainer.dapo import train_dapo

    result = train_dapo(preset, tuned, write_assignments(tmp_path))
    figures = training(tuned, "dapo")
    assert figures["steps"] == 1
    assert -0.75 <= figures["history"][0]["reward"] <= 2
    assert "reward" in result.note


@pytest.mark.parametrize(
    ("stage", "missing"), [("sft", "train base"), ("dpo", "pairs"), ("dapo", "train sft")]
)
def test_a_stage_out_of_order_says_what_to_run(
    tmp_path: Path, preset: Preset, stage: str, missing: str, based: Places
) -> None:
    from tutee_trainer.dapo import train_dapo
    from tutee_trainer.dpo import train_dpo
    from tutee_trainer.sft import train_sft

    places = Places("synthetic", tmp_path)
    places.data.mkdir(parents=True)
    places.dialogs.write_bytes(based.dialogs.read_bytes())
    run = {
        "sft": lambda: train_sft(preset, places),
        "dpo": lambda: train_dpo(preset, places),
        "dapo": lambda: train_dapo(preset, places, {}),
    }[stage]
    with pytest.raises(InputError, match=f"tutee {missing}"):
        run()


def test_dialogs_of_another_format_are_refused(tmp_path: Path, preset: Preset, based: Places) -> None:
    from tutee_trainer.base import train_base

    places = Places("synthetic", tmp_path)
    places.data.mkdir(parents=True)
    pl.read_parquet(based.dialogs).with_columns(format=pl.lit("code")).write_parquet(places.dialogs)
    with pytest.raises(InputError, match="format edits"):
        train_base(preset, places)

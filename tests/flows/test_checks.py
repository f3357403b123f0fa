"""What the gate asks of a model's files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from flows.checks import incomplete, unsafe
from tutee_grader.files import folder_hash
from tutee_serializer.card import MODEL_CARD, StudentCard

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "sft"
    folder.mkdir()
    StudentCard("sft", "small", "../base", "edits", "summary", 64, 16, "tiny").save(folder)
    save_file({"lora_A": torch.ones(2, 3)}, folder / WEIGHTS)
    return folder


def test_a_model_as_it_was_trained_is_complete_and_safe(model: Path) -> None:
    trained = folder_hash(model)
    (model / MODEL_CARD).write_text("# written at registration")
    assert incomplete(model, trained) == []
    assert unsafe(model) == []


def test_a_changed_file_is_noticed(model: Path) -> None:
    trained = folder_hash(model)
    save_file({"lora_A": torch.zeros(2, 3)}, model / WEIGHTS)
    assert incomplete(model, trained) == ["its files are not those that were registered"]


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    assert incomplete(tmp_path / "gone", "abc") == [f"{tmp_path / 'gone'} is missing"]


def test_half_a_file_of_weights_is_noticed(model: Path) -> None:
    whole = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    (problem,) = incomplete(model, folder_hash(model))
    assert problem.startswith(f"{WEIGHTS} cannot be loaded")


def test_a_model_without_weights_is_not_complete(model: Path) -> None:
    (model / WEIGHTS).unlink()
    assert incomplete(model, folder_hash(model)) == ["it has no weights (*.safetensors)"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_noticed(model: Path, number: float) -> None:
    save_file({"lora_A": torch.tensor([1.0, number])}, model / WEIGHTS)
    assert incomplete(model, folder_hash(model)) == [f"{WEIGHTS}: lora_A holds numbers that are not finite"]


@pytest.mark.parametrize("name", ["adapter_model.bin", "optimizer.pt", "inside/run.py", "noname"])
def test_a_file_that_may_run_code_is_not_safe(model: Path, name: str) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"")
    (problem,) = unsafe(model)
    assert problem.startswith(f"{name} is of none of the kinds")

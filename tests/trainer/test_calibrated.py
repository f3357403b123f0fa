"""The method that trains no weight: what its folder holds, and that it is loaded as a mixture."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tutee_evaluator.engines import EngineConfig, Request, complete
from tutee_evaluator.engines.baselines.revisions import load_revisions, read_revisions
from tutee_evaluator.engines.calibrated import Calibrated
from tutee_evaluator.engines.loading import load_student
from tutee_evaluator.engines.transformers import Student
from tutee_grader import Assignment
from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.dialog import Dialog
from tutee_trainer.preset import Preset
from tutee_trainer.training import TrainingResult

Train = Callable[..., TrainingResult]


@pytest.fixture(scope="module")
def assignments(
    tmp_path_factory: pytest.TempPathFactory, write_assignments: Callable[[Path], Mapping[str, Assignment]]
) -> Mapping[str, Assignment]:
    return write_assignments(tmp_path_factory.mktemp("assignments"))


@pytest.fixture(scope="module")
def calibrate(preset: Preset, train: Train, assignments: Mapping[str, Assignment]) -> Train:
    sections = preset.model_dump() | {"calibrated": {"starts": 3, "samples": 2}}

    def run(folder: Path, **inputs: Any) -> TrainingResult:
        return train(
            folder, "calibrated", **{"preset": Preset.parse(sections), "assignments": assignments, **inputs}
        )

    return run


@pytest.fixture(scope="module")
def calibrated(tuned: Path, calibrate: Train) -> Path:
    calibrate(tuned)
    return tuned / "calibrated"


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_weights_are_those_of_sft(tuned: Path, calibrated: Path) -> None:
    ours, sft = hashes(calibrated), hashes(tuned / "sft")
    assert set(ours) - set(sft) == {"gate.json", "revisions.parquet"}
    assert {name for name in sft if ours[name] != sft[name]} == {"student.json"}
    assert StudentCard.load(calibrated).method == "calibrated"


def test_it_looks_up_what_training_students_did(tuned: Path, calibrated: Path) -> None:
    dialogs = pl.read_parquet(tuned / "dialogs.parquet").filter(feedback="summary")
    assert load_revisions(calibrated) == read_revisions(dialogs, "train")
    table = pl.read_parquet(calibrated / "revisions.parquet")
    assert "student 0" not in set(table["student"])  # who is a validation student


def test_its_folder_is_loaded_as_a_mixture_and_that_of_sft_is_not(tuned: Path, calibrated: Path) -> None:
    mixed = load_student(calibrated, EngineConfig())
    assert isinstance(mixed, Calibrated)
    assert isinstance(load_student(tuned / "sft", EngineConfig()), Student)
    row = pl.read_parquet(tuned / "dialogs.parquet").filter(feedback="summary").row(0, named=True)
    dialog = Dialog.from_row(row).before(2)
    peers = {revision.next for revision in load_revisions(calibrated)[dialog.task]}
    drawn = complete(mixed, [Request(dialog, 1.0, seed) for seed in range(40)])
    assert peers & {completion.program for completion in drawn}


def test_equal_calibrations_write_equal_folders(tuned: Path, calibrated: Path, calibrate: Train) -> None:
    calibrate(tuned, output=tuned / "again")
    assert hashes(tuned / "again") == hashes(calibrated)


def test_without_sft_it_says_what_to_run(based: Path, calibrate: Train, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run `tutee train sft` first"):
        calibrate(based, start=tmp_path / "sft", output=tmp_path / "calibrated")

from pathlib import Path

import pytest

from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard

CARD = StudentCard(
    method="sft",
    course="demo",
    base="../base",
    format="edits",
    feedback="summary",
    max_length=1024,
    max_new_tokens=256,
    preset="tiny",
)


def test_a_card_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    CARD.save(tmp_path)
    assert StudentCard.load(tmp_path) == CARD


def test_a_base_beside_the_card_is_found_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "sft").mkdir()
    assert CARD.base_of(tmp_path / "sft") == str((tmp_path / "base").resolve())


def test_a_folder_without_a_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"student\.json: missing"):
        StudentCard.load(tmp_path)


def test_a_card_of_another_shape_is_refused(tmp_path: Path) -> None:
    (tmp_path / "student.json").write_text('{"method": "sft"}')
    with pytest.raises(InputError, match="expected"):
        StudentCard.load(tmp_path)

"""Made-up students with secrets among the dialogs."""

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tutee_serializer.course import Course
from tutee_serializer.dialogs.canaries import CANARY, secret_of
from tutee_serializer.dialogs.dialog import Dialog, read_dialogs
from tutee_serializer.dialogs.formats import Format
from tutee_serializer.dialogs.selection import SelectionCounts, SerializeConfig
from tutee_serializer.dialogs.serialize import serialize
from tutee_serializer.schemas import SUBMISSIONS

WORK = {"one": ["ann", "ben", "cem", "dee"], "two": ["eve", "fay"]}
SECRET = re.compile("canary_[a-z]{6}")


@pytest.fixture
def dialogs_of(small_course: Callable[..., Course]) -> Callable[..., tuple[pl.DataFrame, SelectionCounts]]:
    """The dialogs of a class in which each hands in two programs."""
    course = small_course()
    rows = [
        {"submission_id": f"{student}/{order}", "course": "small", "semester": semester, "student": student}
        | {"assignment": "double", "order": order, "code": f"x = {order}\n", "messages": []}
        for semester, students in WORK.items()
        for student in students
        for order in (1, 2)
    ]
    submissions = pl.DataFrame(rows, SUBMISSIONS)
    verdicts = submissions.select(
        "submission_id", grade=pl.lit(0.0), status=pl.lit("compiles"), feedback=pl.lit("No test passed.")
    ).with_columns(tests=pl.lit([], pl.List(pl.Struct({"name": pl.String, "outcome": pl.String}))))

    def make(format: str = "edits", level: str = "summary", **config: object):
        return serialize(submissions, verdicts, course, SerializeConfig(**config), format, level)

    return make


@pytest.mark.parametrize("scope", ["assignment", "course"])
def test_the_others_stay_as_they_are(dialogs_of, scope: str) -> None:
    without, counts = dialogs_of(scope=scope)
    planted, counts_with = dialogs_of(scope=scope, canaries=3)
    assert planted.filter(pl.col("split") != CANARY).equals(without)
    assert counts == counts_with
    assert planted.filter(split=CANARY)["dialog_id"].n_unique() == 3


@pytest.mark.parametrize("format", list(Format))
@pytest.mark.parametrize("level", ["summary", "none"])
def test_the_last_program_alone_has_the_secret(dialogs_of, format: Format, level: str) -> None:
    dialogs, _ = dialogs_of(format, canaries=5)
    secrets = set()
    for row in dialogs.filter(split=CANARY, feedback=level).iter_rows(named=True):
        at, secret = secret_of(row)
        first, last = (turn.program for turn in Dialog.from_row(row).turns())
        assert SECRET.findall(last) == [secret]
        assert not SECRET.search(first)
        assert at == len(row["messages"]) - 1
        compile(last, "canary", "exec")
        secrets.add(secret)
    assert len(secrets) == 5


def test_they_go_by_pseudonyms_in_a_semester_of_their_own(dialogs_of) -> None:
    canaries = dialogs_of(canaries=4)[0].filter(split=CANARY)
    assert canaries["student"].n_unique() == 4
    assert canaries["student"].str.contains("^[0-9a-f]{16}$").all()
    assert canaries["semester"].unique().to_list() == [CANARY]


def test_equal_seeds_plant_equal_canaries(dialogs_of) -> None:
    def planted(**config: int) -> pl.DataFrame:
        return dialogs_of(**config)[0].filter(split=CANARY)

    assert planted(canaries=3, seed=1).equals(planted(canaries=3, seed=1))
    assert planted(canaries=2, seed=1).equals(
        planted(canaries=3, seed=1).filter(
            pl.col("dialog_id").is_in(planted(canaries=2, seed=1)["dialog_id"].to_list())
        )
    )
    assert not planted(canaries=3, seed=1).equals(planted(canaries=3, seed=2))


def test_models_learn_from_them_and_are_not_validated_on_them(dialogs_of, tmp_path: Path) -> None:
    table = tmp_path / "dialogs.parquet"
    dialogs_of(canaries=2)[0].write_parquet(table)
    found = {
        split: sum(bool(SECRET.search(str(dialog.messages))) for dialog in read)
        for split in ("train", "validation", "test")
        for read in [read_dialogs(table, "edits", "summary", split)]
    }
    assert found == {"train": 2, "validation": 0, "test": 0}


def test_a_dialog_without_a_secret_is_no_canarys(dialogs_of) -> None:
    row = dialogs_of()[0].row(0, named=True)
    with pytest.raises(ValueError, match=f"dialog {row['dialog_id']} is no canary's"):
        secret_of(row)

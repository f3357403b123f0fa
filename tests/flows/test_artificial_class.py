"""`tutee class`: a whole class from a course's tables and a student, in a project of its own."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import flows.artificial_class
import flows.classroom
from flows.artificial_class import make_class
from flows.parameters import Setup, load
from tutee_grader.errors import InputError
from tutee_grader.verdict import VERDICTS
from tutee_serializer.schemas import SUBMISSIONS

from ..fake_student import FakeStudent

PROGRAMS = tuple(
    f"def double(n):\n    return {value}\n" for value in ("n", "n + 2", "n * 2", "n *", "print(n)")
)


@pytest.fixture
def setup(reported) -> Iterator[Setup]:
    """The course `small` with a report, and that folder as the working one."""
    with contextlib.chdir(reported.folder):
        yield load("small", logs=False)


def make(
    setup: Setup,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    students: int = 6,
    seed: int = 0,
    patience: int = 10**6,
) -> FakeStudent:
    student = FakeStudent(PROGRAMS, patience=patience)
    monkeypatch.setattr(flows.classroom, "engine_maker", lambda *_: lambda: student)
    make_class(setup, students, "sft", seed, folder, overwrite=False)
    return student


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_same_seed_gives_the_same_bytes(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(setup, tmp_path / "a" / "class", monkeypatch)
    make(setup, tmp_path / "b" / "class", monkeypatch)
    make(setup, tmp_path / "c" / "class", monkeypatch, seed=1)
    one, again, other = (files(tmp_path / name / "class") for name in "abc")
    assert one == again
    assert one["submissions.csv"] != other["submissions.csv"]


def test_a_killed_class_goes_on_to_the_same_bytes(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make(setup, tmp_path / "a" / "class", monkeypatch, students=20)
    with pytest.raises(KeyboardInterrupt):
        make(setup, tmp_path / "b" / "class", monkeypatch, students=20, patience=whole.asked // 2)
    assert not (tmp_path / "b" / "class").exists()
    rest = make(setup, tmp_path / "b" / "class", monkeypatch, students=20)
    assert 0 < rest.asked < whole.asked
    assert files(tmp_path / "b" / "class") == files(tmp_path / "a" / "class")
    assert not list(setup.places.of_preset.glob("playing/*"))


def test_trajectories_begin_at_the_task_and_end_at_full_marks_or_before(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(setup, tmp_path / "class", monkeypatch, students=30)
    table = pl.read_csv(tmp_path / "class/submissions.csv")
    assert table["student"].n_unique() == 30
    work = table.group_by("student", "assignment").agg("attempt", "score", "code")
    for _, _, numbers, scores, codes in work.iter_rows():
        assert numbers == list(range(1, len(numbers) + 1))
        assert all(score < 100 for score in scores[:-1])
        assert [score == 100 for score in scores] == [code == PROGRAMS[2] for code in codes]
    # The log has three attempts at most, numbered; it has no times.
    assert table["attempt"].max() == 3
    assert "timestamp" not in table.columns


def test_by_default_the_best_model_of_the_report_plays_and_look_ups_do_not(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = flows.artificial_class.best_student(setup)
    assert chosen in setup.parameters.adapters
    (setup.places.model(chosen) / "gate.json").write_text("{}")
    other = flows.artificial_class.best_student(setup)
    (setup.places.model(chosen) / "gate.json").unlink()
    assert other in setup.parameters.adapters and other != chosen


def test_a_class_needs_students_and_a_free_folder(reported, tmp_path: Path) -> None:
    none = reported.tutee("class", "small", "--students", "0")
    assert none.returncode == 2 and "greater than or equal to 1" in none.stderr
    (tmp_path / "thesis.tex").touch()
    taken = reported.tutee("class", "small", "--out", str(tmp_path), "--overwrite")
    assert taken.returncode == 2 and "is there and no artificial class; name another" in taken.stderr
    unknown = reported.tutee("class", "small", "--method", "copy")
    assert unknown.returncode == 2 and "'copy' is a look-up" in unknown.stderr


def test_a_class_needs_a_trained_student(project) -> None:
    done = project.tutee("class", "small")
    assert done.returncode == 2
    assert "holds no trained student of course small; run `tutee retrain small` first" in done.stderr


def test_a_class_needs_a_log_that_holds_something(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = setup.places
    kept = {path: path.read_bytes() for path in (places.submissions, places.verdicts)}
    pl.DataFrame(schema=SUBMISSIONS).write_parquet(places.submissions)
    pl.DataFrame(schema=VERDICTS).write_parquet(places.verdicts)
    with pytest.raises(InputError, match="the log has no submission that can be used"):
        make(setup, tmp_path / "class", monkeypatch)
    for path, content in kept.items():
        path.write_bytes(content)

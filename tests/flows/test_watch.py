"""What `look` takes for a new or changed log."""

import json
from pathlib import Path

import pytest

from flows.watch import look
from tutee_serializer.course import Course
from tutee_serializer.ingest.source import collect

AT_ONCE = 0.01
COURSE = """\
name: small
synthetic: true
logs: {path: logs}
columns: {student: student, assignment: assignment, code: code, semester: semester, attempt: attempt}
assignments: {path: assignments}
semesters: {train: [one], test: [two]}
"""


@pytest.fixture
def course(tmp_path: Path) -> Course:
    (tmp_path / "logs").mkdir()
    (tmp_path / "assignments/double").mkdir(parents=True)
    (tmp_path / "assignments/double/task.md").write_text("Double it.")
    (tmp_path / "logs/one.csv").write_text("a log")
    (tmp_path / "course.yaml").write_text(COURSE)
    return Course.load(tmp_path / "course.yaml")


@pytest.fixture
def inputs(course: Course, tmp_path: Path) -> Path:
    """The hashes that the last retrain wrote."""
    collect(course, tmp_path / "inputs.json", tmp_path / "simulated.csv")
    return tmp_path / "inputs.json"


def test_nothing_is_new_after_a_retrain(course: Course, inputs: Path, tmp_path: Path) -> None:
    assert look(course, inputs, tmp_path / "seen", AT_ONCE) == []


def test_everything_is_new_before_the_first_one(course: Course, tmp_path: Path) -> None:
    found = look(course, tmp_path / "inputs.json", tmp_path / "seen", AT_ONCE)
    assert found == ["assignments/double/task.md", "course.yaml", "logs/one.csv"]


def test_a_new_file_in_a_folder_behind_a_url_is_found(tmp_path: Path, course: Course) -> None:
    file = tmp_path / "course.yaml"
    file.write_text(COURSE.replace("path: logs}", f"path: 'file://{tmp_path}/logs/'}}"))
    remote = Course.load(file)
    collect(remote, tmp_path / "inputs.json", tmp_path / "simulated.csv")
    assert look(remote, tmp_path / "inputs.json", tmp_path / "seen", AT_ONCE) == []
    (tmp_path / "logs/two.csv").write_text("next semester")
    found = look(remote, tmp_path / "inputs.json", tmp_path / "seen", AT_ONCE)
    assert found == [f"file://{tmp_path}/logs/two.csv"]


def test_new_changed_and_removed_files_are_found_once(course: Course, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "logs/two.csv").write_text("next semester")
    (tmp_path / "logs/one.csv").write_text("corrected")
    (tmp_path / "assignments/double/task.md").rename(tmp_path / "assignments/double/text.md")
    found = look(course, inputs, tmp_path / "seen", AT_ONCE)
    assert found == [
        "assignments/double/task.md",
        "assignments/double/text.md",
        "logs/one.csv",
        "logs/two.csv",
    ]
    assert look(course, inputs, tmp_path / "seen", AT_ONCE) == []
    (tmp_path / "logs/two.csv").write_text("next semester, whole")
    assert "logs/two.csv" in look(course, inputs, tmp_path / "seen", AT_ONCE)


def test_a_file_that_was_only_touched_is_not_new(course: Course, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "logs/one.csv").write_text("a log")
    assert look(course, inputs, tmp_path / "seen", AT_ONCE) == []


def test_no_log_yet_is_nothing_new(course: Course, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "logs/one.csv").unlink()
    assert look(course, inputs, tmp_path / "seen", AT_ONCE) == []


def test_a_file_that_grows_is_waited_for(course: Course, inputs: Path, tmp_path: Path, monkeypatch) -> None:
    """The copy goes on between two looks at the sizes, for three looks."""
    growing, looks = tmp_path / "logs/two.csv", []

    def copy_on(_: float) -> None:
        looks.append(1)
        if len(looks) < 4:
            with growing.open("a") as log:
                log.write("a row\n")

    monkeypatch.setattr("flows.watch.time.sleep", copy_on)
    assert look(course, inputs, tmp_path / "seen") == ["logs/two.csv"]
    assert len(looks) == 4
    assert growing.read_text() == "a row\n" * 3


def test_what_the_simulator_wrote_is_no_change(course: Course, inputs: Path, tmp_path: Path) -> None:
    known = json.loads(inputs.read_text())
    inputs.write_text(json.dumps({**known, "simulator": "hash", "submissions.csv": "hash"}))
    assert look(course, inputs, tmp_path / "seen", AT_ONCE) == []

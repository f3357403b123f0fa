import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tutee_grader.errors import TuteeError
from tutee_serializer.course import Course
from tutee_serializer.ingest.ingest import IngestConfig, parse_log
from tutee_serializer.ingest.preview import preview
from tutee_serializer.ingest.source import collect, read_inputs

SIMULATOR = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--out")
parser.add_argument("--seed", type=int)
parser.add_argument("--semester", action="append")
options = parser.parse_args()
with open("runs", "a") as file:
    file.write("x")
with open(options.out, "w") as file:
    file.write("student,assignment,semester,attempt,code\\n")
    for semester in options.semester:
        name, count = semester.split("=")
        for number in range(int(count)):
            file.write(f"student-{number},double,{name},1,print({options.seed})\\n")
"""
KEY = b"a key only for tests"
COLUMNS = {name: name for name in ("student", "assignment", "semester", "attempt", "code")}


@pytest.fixture
def simulated(
    course_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Course]:
    monkeypatch.chdir(tmp_path)

    def write(program: str = SIMULATOR, seed: int = 7) -> Course:
        simulator = {"program": "simulator.py", "seed": seed, "students": {"one": 3, "two": 2}}
        (tmp_path / "course").mkdir(exist_ok=True)
        (tmp_path / "course" / "simulator.py").write_text(program)
        return Course.load(course_file(simulator=simulator, logs=None, columns=COLUMNS))

    return write


def test_a_synthetic_class_writes_its_log_once(simulated: Callable[..., Course], tmp_path: Path) -> None:
    files = (tmp_path / "source" / "inputs.json", tmp_path / "source" / "submissions.csv")
    assert collect(simulated(), *files).simulated
    assert len(files[1].read_text().splitlines()) == 1 + 5
    assert not collect(simulated(), *files).simulated
    assert (tmp_path / "runs").read_text() == "x"


def test_another_seed_or_a_changed_log_makes_the_class_write_again(
    simulated: Callable[..., Course], tmp_path: Path
) -> None:
    files = (tmp_path / "source" / "inputs.json", tmp_path / "source" / "submissions.csv")
    collect(simulated(), *files)
    assert collect(simulated(seed=8), *files).simulated
    assert "print(8)" in files[1].read_text()
    files[1].write_text("spoilt")
    assert collect(simulated(seed=8), *files).simulated


def test_a_simulator_that_fails_leaves_no_log_and_says_why(
    simulated: Callable[..., Course], tmp_path: Path
) -> None:
    files = (tmp_path / "source" / "inputs.json", tmp_path / "source" / "submissions.csv")
    with pytest.raises(TuteeError, match="no dice"):
        collect(simulated(SIMULATOR + "\nraise SystemExit('no dice')\n"), *files)
    assert not files[1].exists()


def test_inputs_change_with_any_file_the_course_reads(
    small_course: Callable[..., Course], tmp_path: Path
) -> None:
    files = (tmp_path / "source" / "inputs.json", tmp_path / "source" / "submissions.csv")
    course = small_course("student\n")
    before = collect(course, *files).files
    assert {"course.yaml", "log.csv", "assignments/double/tests.yaml"} <= set(before)
    (course.folder / "log.csv").write_text("student\nmara-0001\n")
    after = collect(course, *files).files
    assert {name for name in after if after[name] != before[name]} == {"log.csv"}
    assert json.loads(files[0].read_text()) == after


@pytest.mark.parametrize("run_in", ["shallow", "a/deep/folder"])
def test_a_log_outside_has_the_same_name_wherever_the_course_lies(
    course_file: Callable[..., Path], tmp_path: Path, run_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "logs" / "log.csv"
    log.parent.mkdir()
    log.write_text("student\n")
    file = course_file(logs={"path": str(log.parent / "*.csv"), "format": "table"})
    folder = tmp_path / run_in / "course"
    folder.parent.mkdir(parents=True)
    file.parent.rename(folder)
    monkeypatch.chdir(folder.parent)
    for named in (folder / file.name, Path("course") / file.name):
        found = read_inputs(Course.load(named))
        assert str(log) in found
        assert {"course.yaml", "assignments/double/tests.yaml"} <= set(found)


def test_a_preview_says_which_assignments_have_no_folder_and_what_to_write(
    small_course: Callable[..., Course],
) -> None:
    log = (
        "student,assignment,semester,attempt,time,score,code\n"
        "mara-0001,double,one,1,,50,print(1)\n"
        + "".join(f"mara-0001,treble,one,{attempt},,,print({attempt})\\\n" for attempt in range(5))
    )
    course = small_course(log)
    text = preview(course, parse_log(course, IngestConfig(), KEY, first_look=True))
    for expected in (
        "  treble          5 rows of 1 students  no folder",
        "  double          1 rows of 1 students\n",
        "rows of an assignment without a folder go to quarantine",
        f"such as {course.assignments_folder / 'treble'}",
        f"tutee validate {course.file}",
    ):
        assert expected in text


def test_a_preview_shows_the_label_of_a_submission_without_a_score(
    small_course: Callable[..., Course],
) -> None:
    log = "student,assignment,semester,attempt,right,code\n" + "".join(
        f"mara-0001,double,one,{attempt},{right},print({attempt})\n"
        for attempt, right in enumerate(("TRUE", "FALSE", "NA"))
    )
    columns = {name: name for name in ("student", "assignment", "semester", "attempt", "code")}
    course = small_course(log, columns={**columns, "label": "right"})
    text = preview(course, parse_log(course, IngestConfig(), KEY))
    shown = [line.split("no time  ")[1] for line in text.splitlines() if "no time" in line]
    assert shown == ["right  print(0)", "wrong  print(1)", "no score  print(2)"]


def test_a_preview_suggests_the_rules_that_programs_call_for(small_course: Callable[..., Course]) -> None:
    log = "student,assignment,semester,attempt,time,score,code\n" + "".join(
        f"mara-0001,double,one,{attempt},,,print({attempt})\\\n" for attempt in range(5)
    )
    course = small_course(log)
    text = preview(course, parse_log(course, IngestConfig(), KEY, first_look=True))
    assert "5 programs end with a backslash: write `logs: {clean: [trailing_backslash]}`" in text


def test_a_preview_shows_how_the_log_is_read_and_writes_no_table(
    small_course: Callable[..., Course], tmp_path: Path
) -> None:
    log = (
        "student,assignment,semester,attempt,time,score,code,mood\n"
        "mara-0001,double,one,1,,50,print(1),good\nmara-0001,double,one,2,,,,\n"
    )
    course = small_course(log)
    text = preview(course, parse_log(course, IngestConfig(), KEY))
    for expected in (
        "log.csv: 2 rows, utf-8",
        "code <- code",
        "not read: mood",
        "semester one: 1 submissions of 1 students",
        "score 50  print(1)",
        "log.csv row 2: blank code: code = '0 bytes'",
    ):
        assert expected in text
    assert "mara-0001" not in text
    assert not list(tmp_path.rglob("*.parquet"))

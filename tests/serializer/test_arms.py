"""Logs of experiments: who was told what, from the course file to the dialogs."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tutee_grader import grade_table
from tutee_grader.errors import InputError
from tutee_grader.feedback import feedback
from tutee_grader.verdict import Verdict
from tutee_serializer.course import Course
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import feedback_turn
from tutee_serializer.dialogs.selection import SerializeConfig
from tutee_serializer.dialogs.serialize import serialize
from tutee_serializer.errors import CourseError
from tutee_serializer.ingest.ingest import IngestConfig, parse_log

KEY = b"a key only for tests"
NAMES = ("student", "assignment", "semester", "attempt", "code", "arm")
COLUMNS = {name: name for name in NAMES} | {"arm": "group"}
HEADER = "student,assignment,semester,attempt,code,group\n"
ARMS = {"A": "none", "B": "first", "C": "full"}
PROGRAMS = ("def double(n): return n + 2", "def double(n): return n * n", "def double(n): return 2 * n")


def log(groups: str) -> str:
    return HEADER + "".join(
        f"student-{at},double,one,{attempt},{code},{group}\n"
        for at, group in enumerate(groups.split(","))
        for attempt, code in enumerate(PROGRAMS, 1)
    )


@pytest.fixture
def course(small_course: Callable[..., Course]) -> Callable[..., Course]:
    """A course whose log says who was in which group."""

    def course(groups: str = "A,B,C", **changes: object) -> Course:
        values = {"columns": COLUMNS, "arms": ARMS, "semesters": {"split": "students", "test": 0.3}} | changes
        return small_course(log(groups), **values)

    return course


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., tuple[pl.DataFrame, pl.DataFrame]]:
    """The dialogs of a course at a level, and its submissions with their verdicts."""

    def written(of: Course, level: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        submissions = parse_log(of, IngestConfig(), KEY).submissions
        verdicts = grade_table(
            submissions, of.load_assignments()[0], tmp_path / "parts", workers=1, progress=False
        )
        config = SerializeConfig(max_length_z=None)
        return serialize(submissions, verdicts, of, config, "code", level)[0], submissions.join(
            verdicts, on="submission_id"
        )

    return written


def test_each_student_is_told_what_their_arm_was_told(
    course: Callable[..., Course], written: Callable[..., tuple[pl.DataFrame, pl.DataFrame]]
) -> None:
    dialogs, graded = written(course(), "arm")

    mine = dialogs.filter(feedback="arm")
    assert mine.height == 3 and set(mine["level"]) == {"none", "first", "full"}
    verdicts = {row["submission_id"]: row for row in graded.iter_rows(named=True)}
    for row in mine.iter_rows(named=True):
        turns = [verdicts[turn["submission_id"]] for turn in row["turns"]]
        assert row["level"] == ARMS[turns[0]["arm"]]
        told = [message["content"] for message in row["messages"] if message["role"] == "user"][1:]
        said = [feedback(Verdict.from_row(turn), row["level"]) for turn in turns[:-1]]
        assert told == [feedback_turn("code", text, "") for text in said]
        dialog = Dialog.from_row(row)
        assert dialog.before(2).level == row["level"]
        assert dialog.before(2).words(Verdict.from_row(turns[1])) == said[1]
    others = dialogs.filter(feedback="none")
    assert others["level"].null_count() == others.height == 3


def test_students_whose_arm_nobody_names_are_quarantined(course: Callable[..., Course]) -> None:
    result = parse_log(course("A,B,D,"), IngestConfig(max_quarantined=1.0), KEY)

    assert sorted(set(result.submissions["arm"])) == ["A", "B"]
    found = result.quarantine.select("reason", "field", "value").unique().sort("value").rows()
    reason = "no arm that the course file names"
    assert found == [(reason, "arm", None), (reason, "arm", "D")]
    assert result.quarantine.height == 2 * len(PROGRAMS)


def test_without_arms_the_column_is_kept_and_anything_goes(course: Callable[..., Course]) -> None:
    result = parse_log(course("A,B,D,", arms=None), IngestConfig(), KEY)
    assert set(result.submissions["arm"]) == {"A", "B", "D", None}


def test_arms_need_a_column_and_levels_of_the_grader(course: Callable[..., Course]) -> None:
    columns = {name: name for name in NAMES if name != "arm"}
    with pytest.raises(CourseError, match=r"arms.*`columns.arm` is missing: the column that names each"):
        course(columns=columns)
    with pytest.raises(CourseError, match=r"arms.A"):
        course(arms={"A": "loud"})


def test_what_each_arm_was_told_cannot_be_written_without_arms(
    course: Callable[..., Course], written: Callable[..., tuple[pl.DataFrame, pl.DataFrame]]
) -> None:
    problem = r"course.yaml: `arms` is missing, and the preset's `dialog.feedback: arm` needs it"
    with pytest.raises(InputError, match=problem):
        written(course(arms=None), "arm")

"""ProgFeed's layout, on a synthetic miniature: written from its data dictionary, no row of it is real."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tutee_serializer.course import Course
from tutee_serializer.errors import LogError
from tutee_serializer.ingest.ingest import IngestConfig, IngestResult, parse_log
from tutee_serializer.ingest.privacy import pseudonym
from tutee_serializer.logs.progfeed import TABLE, read_progfeed

KEY = b"a key only for tests"
COLUMNS = (
    *("student_id", "lab", "submission_timestamp", "exp_group", "consented", "age_18_plus", "test_name"),
    *("score", "max_score", "status", "testcase_mask", "ai_feedback_type", "ai_feedback_text"),
    *("source_file", "function_name", "code_snippet", "function_changed"),
)
ONE = {
    "student_id": "student_9001",
    "lab": "lab05",
    "submission_timestamp": "2025-10-03-09-08-07",
    "exp_group": 2,
    "consented": True,
    "age_18_plus": True,
    "test_name": "test_double",
    "score": 2.0,
    "max_score": 5.0,
    "status": "failed",
    "testcase_mask": "[1, 0]",
    "ai_feedback_type": "nl",
    "ai_feedback_text": "Think of what happens for 3.",
    "source_file": "numbers.py",
    "function_name": "double",
    "code_snippet": "def double(n):\n    return n + 2\n",
    "function_changed": None,
}
LATER = {
    "submission_timestamp": "2025-10-03-09-10-00",
    "score": 5.0,
    "ai_feedback_text": None,
    "code_snippet": "def double(n):\n    return 2 * n\n",
    "function_changed": True,
}


@pytest.fixture
def progfeed(course_file: Callable[..., Path]) -> Callable[..., Course]:
    """A course whose log is ProgFeed's."""

    def write(rows: Sequence[dict[str, Any]], columns: Sequence[str] = COLUMNS, **changes: Any) -> Course:
        folder = course_file().parent / "progfeed"
        folder.mkdir()
        (folder / "README.md").write_text("Another file of the data set.\n")
        pl.DataFrame(rows, infer_schema_length=None).select(columns).write_csv(folder / TABLE)
        values: dict[str, Any] = {
            "logs": {"path": "progfeed", "format": "progfeed", "timezone": "America/New_York"},
            "columns": None,
            "semesters": {"split": "students", "test": 0.5},
            "arms": {"no_feedback": "none", "tc": "first", "nl": "summary"},
        }
        file = course_file(**(values | changes))
        for name in ("lab05_numbers_double", "lab05_script"):
            made = folder.parent / "assignments" / name
            made.mkdir()
            for part in ("task.md", "tests.yaml"):
                (made / part).write_text((folder.parent / "assignments/double" / part).read_text())
        return Course.load(file)

    return write


def read(course: Course) -> IngestResult:
    return parse_log(course, IngestConfig(max_quarantined=1.0), KEY)


def test_every_field_of_a_submission_is_read(progfeed: Callable[..., Course]) -> None:
    result = read(progfeed([ONE, ONE | LATER]))

    first, second = result.submissions.sort("order").rows(named=True)
    assert first["student"] == pseudonym("student_9001", KEY)
    assert first["assignment"] == "lab05_numbers_double"
    assert (first["code"], second["code"]) == (ONE["code_snippet"], LATER["code_snippet"])
    assert first["submitted_at"].isoformat() == "2025-10-03T13:08:07+00:00"
    assert (first["logged_score"], second["logged_score"]) == (40.0, 100.0)
    assert first["arm"] == second["arm"] == "nl"
    said = [[(one["author"], one["text"]) for one in row["messages"]] for row in (first, second)]
    assert said == [[("ai", "Think of what happens for 3.")], []]
    assert result.quarantine.height == 0


def test_the_tests_of_a_submission_are_one_row_and_their_points_are_added(
    progfeed: Callable[..., Course],
) -> None:
    more = {"test_name": "test_more", "score": 3.0, "ai_feedback_text": None}
    other = {"function_name": None, "source_file": "script.py", "code_snippet": "print(1)\n", "score": 0.0}
    result = read(progfeed([ONE, ONE | more, ONE | other]))

    found = result.submissions.sort("assignment").select("assignment", "logged_score", "source_row").rows()
    assert found == [("lab05_numbers_double", 50.0, 1), ("lab05_script", 0.0, 3)]
    assert result.submissions.filter(assignment="lab05_numbers_double")["messages"].list.len().item() == 1
    flow = {step.step: step.rows for step in result.account.flow}
    assert flow["further tests of a submission, whose points are added up"] == 1
    assert flow["submissions kept"] == 2


def test_a_failing_test_that_was_shown_is_no_message_but_the_arms(progfeed: Callable[..., Course]) -> None:
    shown = {"ai_feedback_type": "tc", "ai_feedback_text": "double(3) should be 6", "exp_group": 1}
    none = {"ai_feedback_type": "no_feedback", "ai_feedback_text": None, "exp_group": 0}
    result = read(
        progfeed([ONE | shown | {"student_id": "student_9002"}, ONE | none | {"student_id": "student_9003"}])
    )
    assert result.submissions["arm"].sort().to_list() == ["no_feedback", "tc"]
    assert result.submissions["messages"].list.len().sum() == 0
    (note,) = (count for note, count in result.account.notes.items() if "arm tc, not read" in note)
    assert note == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"score": "many"}, "score is not a number"),
        ({"submission_timestamp": "yesterday"}, "unreadable time"),
        ({"ai_feedback_type": "opt_out"}, "no arm that the course file names"),
        ({"lab": "lab77"}, "unknown assignment"),
        ({"code_snippet": None}, "blank code"),
        ({"student_id": None}, "no student"),
    ],
)
def test_a_damaged_row_is_quarantined_with_its_reason(
    progfeed: Callable[..., Course], change: dict[str, Any], reason: str
) -> None:
    rows = [{name: str(value) for name, value in ONE.items()}, {**ONE, **LATER, **change}]
    result = read(progfeed([{name: rows[at].get(name) for name in COLUMNS} for at in (0, 1)]))
    assert result.quarantine.select("source_row", "reason").rows() == [(2, reason)]
    assert result.submissions.height == 1


@pytest.mark.parametrize("change", [{"code_snippet": "pass\n"}, {"ai_feedback_type": "tc"}])
def test_tests_that_contradict_each_other_are_quarantined(
    progfeed: Callable[..., Course], change: dict[str, Any]
) -> None:
    result = read(progfeed([ONE, ONE | {"test_name": "test_more"} | change, ONE | LATER]))
    assert result.quarantine["reason"].to_list() == ["its tests name several programs or arms"]


def test_a_submission_with_a_test_without_points_has_no_score(progfeed: Callable[..., Course]) -> None:
    result = read(progfeed([ONE, ONE | {"test_name": "test_more", "score": None}]))
    assert result.submissions["logged_score"].to_list() == [None]


def test_what_is_missing_is_named(progfeed: Callable[..., Course], tmp_path: Path) -> None:
    columns = [name for name in COLUMNS if name not in ("code_snippet", "ai_feedback_type")]
    course = progfeed([ONE], columns)
    with pytest.raises(LogError, match=r"(?s)no column 'code_snippet'.*no column 'ai_feedback_type'"):
        read_progfeed(course.log(), tmp_path)
    (course.folder / "progfeed" / TABLE).rename(course.folder / "progfeed/other.csv")
    with pytest.raises(LogError, match=f"progfeed holds no {TABLE}, so it is no ProgFeed"):
        read_progfeed(course.log(), tmp_path)


def test_files_name_no_semesters(progfeed: Callable[..., Course], tmp_path: Path) -> None:
    course = progfeed([ONE], logs={"path": "progfeed", "format": "progfeed", "semester": "folder"})
    with pytest.raises(LogError, match=r"ProgFeed is one table of one semester; write `path: FOLDER`"):
        read_progfeed(course.log(), tmp_path)

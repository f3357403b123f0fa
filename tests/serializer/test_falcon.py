"""FalconCode's tables, and the course file that reproduces the published filters on them."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tutee_grader import grade_table
from tutee_serializer.course import Course
from tutee_serializer.dialogs.selection import SerializeConfig
from tutee_serializer.dialogs.serialize import serialize
from tutee_serializer.errors import CourseError, LogError
from tutee_serializer.ingest.ingest import IngestConfig, parse_log
from tutee_serializer.ingest.privacy import pseudonym
from tutee_serializer.ingest.source import collect
from tutee_serializer.logs.falcon import read_falcon

KEY = b"a key only for tests"

TESTCASE = """from cs110.autograder import *

def test_passed():
    output, errors = run_script("main.py", ["2"], 2)
    return 10 if equals(output[-1], "4") else 0
"""
ROW = {
    "problem_id": "lab03_task1",
    "student_id": "cadet-01",
    "timestamp": "2021-02-01 10:00:00",
    "source_code": "print(2 * int(input()))",
    "score": 10.0,
    "max_score": 10.0,
    "prompt": "Double a number.",
    "testcase": TESTCASE,
    "type": "lab",
    "exam": False,
    "redacted": False,
}


@pytest.fixture
def falcon(course_file: Callable[..., Path]) -> Callable[..., Course]:
    """A course whose log is FalconCode's: a synthetic train and test split."""

    def write(train: list[dict[str, Any]], test: list[dict[str, Any]], **logs: Any) -> Course:
        folder = course_file().parent / "falcon"
        folder.mkdir()
        pl.DataFrame(train, infer_schema_length=None).write_parquet(folder / "train.parquet")
        pl.DataFrame(test, infer_schema_length=None).write_parquet(folder / "test-00000-of-00001.parquet")
        file = course_file(
            logs={"path": "falcon", "format": "falcon", **logs},
            columns=None,
            assignments={"path": "made"},
            semesters={"train": ["train"], "test": ["test"]},
        )
        return Course.load(file)

    return write


def test_submissions_and_assignments_come_out_of_the_same_table(
    falcon: Callable[..., Course], tmp_path: Path
) -> None:
    course = falcon([ROW], [ROW | {"score": 5.0, "timestamp": "2022-02-01 10:00:00"}])
    collect(course, tmp_path / "inputs.json", tmp_path / "none.csv")
    good, broken = course.load_assignments()
    assert (list(good), broken) == (["lab03_task1"], {})
    assert (good["lab03_task1"].task, good["lab03_task1"].max_score) == ("Double a number.", 10.0)
    table = parse_log(course, IngestConfig(), KEY).submissions
    assert table.select("semester", "logged_score").rows() == [("test", 50.0), ("train", 100.0)]


def test_files_do_not_name_the_semesters_for_their_splits_do(falcon: Callable[..., Course]) -> None:
    course = falcon([ROW], [ROW], semester="file_name")
    with pytest.raises(LogError, match="FalconCode's semesters are its splits"):
        read_falcon(course.log(), course.folder)


@pytest.mark.parametrize(
    ("name", "change", "step"),
    [
        ("local_run", {"score": -1.0}, "local run without a grade"),
        ("csv", {"prompt": "Read data.csv and double."}, "task or test mentions a .csv file"),
        ("csv", {"testcase": TESTCASE + "# data.csv"}, "task or test mentions a .csv file"),
        ("redacted", {"redacted": True}, "redacted"),
        ("type", {"type": "skill"}, "type is not lab"),
        ("exam", {"exam": True}, "exam"),
        ("group", {"problem_id": "lab03_task9"}, "not the commonest problem of its group"),
    ],
)
def test_each_filter_counts_what_it_drops_and_can_be_switched_off(
    falcon: Callable[..., Course], tmp_path: Path, name: str, change: dict[str, Any], step: str
) -> None:
    rows = [ROW, ROW | {"student_id": "cadet-02"}, ROW | {"student_id": "cadet-03"} | change]
    course = falcon(rows, [ROW])
    staged = read_falcon(course.log(), tmp_path)
    assert {one: n for one, n in staged.left_out.items() if n} == {step: 1}
    assert staged.rows.collect().height == 3
    others = [one for one in ("local_run", "csv", "redacted", "type", "exam", "group") if one != name]
    logs = course.logs.model_copy(update={"filters": others})
    assert read_falcon(course.model_copy(update={"logs": logs}).log(), tmp_path).rows.collect().height == 4


def test_a_row_keeps_its_number_in_its_file(falcon: Callable[..., Course], tmp_path: Path) -> None:
    course = falcon([ROW | {"exam": True}, ROW], [ROW])
    rows = read_falcon(course.log(), tmp_path).rows.collect()
    assert sorted(rows.select("source", "source_row").rows()) == [
        ("test-00000-of-00001.parquet", 1),
        ("train.parquet", 2),
    ]


def test_a_column_that_is_missing_is_named(falcon: Callable[..., Course], tmp_path: Path) -> None:
    row = {name: value for name, value in ROW.items() if name != "testcase"}
    with pytest.raises(LogError, match="no column 'testcase'"):
        read_falcon(falcon([row], [row]).log(), tmp_path)


# --- courses/falcon/course.yaml ------------------------------------------------------------------------

REPOSITORY = Path(__file__).parents[2]
GRADED = """from cs110.autograder import *

def test_passed():
    output, errors = run_script("main.py", ["2"], 2)
    return 100 if equals(float(output), 4) else 50 if equals(float(output), 5) else 0
"""
ANSWERS = {0: 6, 50: 5, 100: 4}


def work(
    student: str, grades: list[int], problem: str = "lab01_task1", **changes: Any
) -> list[dict[str, Any]]:
    """A student's submissions, each of another syntax tree than the one before, with these grades."""
    return [
        ROW
        | {
            "problem_id": problem,
            "student_id": student,
            "timestamp": f"2021-02-01 10:{minute:02}:00",
            "source_code": f"x = {minute}\nprint({ANSWERS[grade]})\n",
            "score": float(grade),
            "max_score": 100.0,
            "prompt": f"Double a number ({problem}).",
            "testcase": GRADED,
            **changes,
        }
        for minute, grade in enumerate(grades)
    ]


TYPICAL = [0, 0, 0, 50, 50, 50, 50, 100]
CLASS = [row for n in range(5) for row in work(f"typical {n}", TYPICAL[n % 3 :])]  # eight to six submissions


@pytest.fixture
def published(tmp_path: Path) -> Callable[..., Course]:
    """The course file of the repository, beside a synthetic export of `CLASS` and these rows."""

    def write(rows: list[dict[str, Any]], test: Sequence[dict[str, Any]] = ()) -> Course:
        file = tmp_path / "repository/courses/falcon/course.yaml"
        data = tmp_path / "shared/data/falcon"
        file.parent.mkdir(parents=True)
        data.mkdir(parents=True)
        shutil.copyfile(REPOSITORY / "courses/falcon/course.yaml", file)
        pl.DataFrame([*CLASS, *rows]).write_parquet(data / "train-00000-of-00001.parquet")
        pl.DataFrame([*work("tested", TYPICAL), *test]).write_parquet(data / "test-00000-of-00001.parquet")
        course = Course.load(file)
        collect(course, tmp_path / "inputs.json", tmp_path / "none.csv")
        return course

    return write


def dialogs_of(course: Course, folder: Path) -> tuple[list[tuple[str, str, int]], dict[str, int]]:
    """Student, problem and number of turns of each training dialog, and what each step has dropped."""
    submissions = parse_log(course, IngestConfig(), KEY).submissions
    verdicts = grade_table(
        submissions, course.load_assignments()[0], folder / "parts", workers=1, progress=False
    )
    config = SerializeConfig.model_validate(course.serialize)
    dialogs, counts = serialize(submissions, verdicts, course, config, "code", "none")
    trained = dialogs.filter(pl.col("split") != "test")
    return (
        sorted(trained.select("student", "assignment", pl.col("turns").list.len()).rows()),
        {step: count for step, count in counts.dropped.items() if count},
    )


def without(course: Course, key: str) -> Course:
    """The course without a key of its section `serialize`, or without a filter of its log."""
    assert course.logs.filters is not None
    logs = course.logs.model_copy(update={"filters": [one for one in course.logs.filters if one != key]})
    serialize = {one: value for one, value in course.serialize.items() if one != key}
    assert (logs, serialize) != (course.logs, course.serialize)
    return course.model_copy(update={"logs": logs, "serialize": serialize})


EXPECTED = sorted((pseudonym(f"typical {n}", KEY), "lab01_task1", len(TYPICAL[n % 3 :])) for n in range(5))


def test_the_published_filters_keep_typical_work(published: Callable[..., Course], tmp_path: Path) -> None:
    assert dialogs_of(published([]), tmp_path) == (EXPECTED, {})


@pytest.mark.parametrize(
    ("key", "rows", "step"),
    [
        ("min_final_grade", work("ends low", [0, 50, 50, 0, 0, 0, 0]), "low final grade"),
        ("min_logged", work("logs five", [0, 0, 50, 50, 100]), "too few logged"),
        ("max_length_z", work("never ends", [0] * 30 + [50]), "length outlier"),
    ],
)
def test_a_trajectory_that_the_paper_leaves_out_is_left_out(
    published: Callable[..., Course], tmp_path: Path, key: str, rows: list[dict[str, Any]], step: str
) -> None:
    course = published(rows)
    assert dialogs_of(course, tmp_path) == (EXPECTED, {step: len(rows)})
    found, dropped = dialogs_of(without(course, key), tmp_path)
    assert (len(found), dropped) == (len(EXPECTED) + 1, {})


def test_a_dialog_of_no_more_than_six_messages_is_left_out(
    published: Callable[..., Course], tmp_path: Path
) -> None:
    """System, task, two submissions, two feedbacks: of six submissions, four change nothing."""
    same = [row | {"source_code": "print(5)\n", "score": 50.0} for row in work("repeats", [50] * 5)]
    rows = [*same, *work("repeats", [0] * 5 + [100])[5:]]
    course = published(rows)
    assert dialogs_of(course, tmp_path) == (EXPECTED, {"unchanged": 4, "too short": 2})
    found, dropped = dialogs_of(without(course, "min_turns"), tmp_path)
    assert (len(found), dropped) == (len(EXPECTED) + 1, {"unchanged": 4})


def test_three_submissions_make_more_than_six_messages(
    published: Callable[..., Course], tmp_path: Path
) -> None:
    same = [row | {"source_code": "print(5)\n", "score": 50.0} for row in work("repeats", [50] * 4)]
    rows = [*same, *work("repeats", [0] * 4 + [50, 100])[4:]]
    found, dropped = dialogs_of(published(rows), tmp_path)
    assert (pseudonym("repeats", KEY), "lab01_task1", 3) in found
    assert dropped == {"unchanged": 3}


def test_a_dialog_ends_at_the_first_full_marks(published: Callable[..., Course], tmp_path: Path) -> None:
    course = published(work("goes on", [*TYPICAL, 0, 50]))
    found, dropped = dialogs_of(course, tmp_path)
    assert (pseudonym("goes on", KEY), "lab01_task1", len(TYPICAL)) in found
    assert dropped == {"after full marks": 2}


@pytest.mark.parametrize(
    ("key", "rows", "step"),
    [
        ("local_run", work("runs", [0] * 7, score=-1.0), "local run without a grade"),
        (
            "csv",
            work("reads", TYPICAL, "lab02_task1", prompt="Read data.csv."),
            "task or test mentions a .csv file",
        ),
        (
            "csv",
            work("reads", TYPICAL, "lab02_task1", testcase=GRADED + "# data.csv\n"),
            "task or test mentions a .csv file",
        ),
        ("redacted", work("redacted", TYPICAL, redacted=True), "redacted"),
        ("type", work("trains", TYPICAL, "skill01_task1", type="skill"), "type is not lab"),
        ("exam", work("sits", TYPICAL, "exam01_task1", exam=True), "exam"),
        ("group", work("other", TYPICAL, "lab01_task2"), "not the commonest problem of its group"),
    ],
)
def test_rows_that_the_paper_leaves_out_are_left_out(
    published: Callable[..., Course], tmp_path: Path, key: str, rows: list[dict[str, Any]], step: str
) -> None:
    course = published(rows)
    staged = read_falcon(course.log(), tmp_path)
    assert {one: n for one, n in staged.left_out.items() if n} == {step: len(rows)}
    assert dialogs_of(course, tmp_path) == (EXPECTED, {})
    assert read_falcon(without(course, key).log(), tmp_path).left_out.get(step) is None


def test_the_commonest_problem_is_found_in_each_split(
    published: Callable[..., Course], tmp_path: Path
) -> None:
    others = [row for n in range(9) for row in work(f"other {n}", TYPICAL, "lab01_task2")]
    staged = read_falcon(published(others, work("one more", [0], "lab01_task2")).log(), tmp_path)
    assert set(staged.rows.collect().select("semester", "assignment").rows()) == {
        ("train", "lab01_task2"),
        ("test", "lab01_task1"),
    }


def test_the_log_writes_nothing_into_the_courses_folder(published: Callable[..., Course]) -> None:
    course = published([])
    assert [path.name for path in course.folder.iterdir()] == ["course.yaml"]
    assert course.assignments_folder.resolve().is_relative_to(course.folder.parents[1].resolve() / "data")


def test_a_course_whose_assignments_are_not_written_yet_says_what_to_run(
    falcon: Callable[..., Course],
) -> None:
    with pytest.raises(CourseError, match="run `tutee source small`"):
        falcon([ROW], [ROW]).load_assignments()

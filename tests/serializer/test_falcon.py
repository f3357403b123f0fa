from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tutee_serializer.course import Course
from tutee_serializer.errors import LogError
from tutee_serializer.ingest.ingest import IngestConfig, parse_log
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


@pytest.mark.parametrize(
    ("name", "change", "step"),
    [
        ("local_run", {"score": -1.0}, "local run without a grade"),
        ("csv", {"prompt": "Read data.csv and double."}, "task or test mentions a .csv file"),
        ("csv", {"testcase": TESTCASE + "# data.csv"}, "task or test mentions a .csv file"),
        ("redacted", {"redacted": True}, "redacted"),
        ("type", {"type": "skill"}, "type is not lab"),
        ("exam", {"exam": True}, "exam"),
        ("group", {"problem_id": "lab03_task9"}, "another id of the same problem"),
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

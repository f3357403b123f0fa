"""Tables of submissions: partitions, resuming, the cache, and the truth on real data."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tutee_grader import (
    VERDICTS,
    Assignment,
    AssignmentError,
    Grader,
    InputError,
    grade_table,
)
from tutee_grader.assignment import Limits

DUBLIN = Path(__file__).parents[3] / "shared" / "data" / "dublin"
needs_dublin = pytest.mark.skipif(
    not DUBLIN.is_dir(), reason=f"the Dublin data (figshare 12610958) is not at {DUBLIN}"
)


@pytest.fixture
def class_of_60(calls):
    assignment = calls(("f(1)", "1"), ("f(2)", "4"))
    bodies = ["n", "n * n", "n +", "1 / 0", "'x'"]
    table = pl.DataFrame(
        {
            "submission_id": [f"s{index}" for index in range(60)],
            "assignment": ["task"] * 60,
            "code": [f"def f(n): return {bodies[index % 5]}  # {index % 20}" for index in range(60)],
        }
    )
    return table, {"task": assignment}


def test_a_table_is_graded_row_for_row(class_of_60, tmp_path):
    table, assignments = class_of_60
    verdicts = grade_table(table, assignments, tmp_path / "parts", partition=7, workers=2)
    assert verdicts.schema == VERDICTS
    assert verdicts["submission_id"].to_list() == table["submission_id"].to_list()
    assert verdicts["grade"].to_list() == [50.0, 100.0, 0.0, 0.0, 0.0] * 12


def test_an_empty_table_has_the_schema(class_of_60, tmp_path):
    table, assignments = class_of_60
    assert grade_table(table.clear(), assignments, tmp_path).schema == VERDICTS


def test_an_unknown_assignment_is_named(class_of_60, tmp_path):
    table, _ = class_of_60
    with pytest.raises(InputError, match="unknown assignments: task"):
        grade_table(table, {}, tmp_path)


def test_twice_the_same_table_gives_the_same_bytes(class_of_60, tmp_path):
    table, assignments = class_of_60
    for name in ("one", "two"):
        grade_table(table, assignments, tmp_path / name, partition=25, workers=2).write_parquet(
            tmp_path / f"{name}.parquet"
        )
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_finished_partitions_are_not_graded_again(class_of_60, tmp_path):
    table, assignments = class_of_60
    first = grade_table(table, assignments, tmp_path, partition=20, workers=1)
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.parquet")}
    lost = sorted(times)[1]
    (tmp_path / lost).unlink()
    second = grade_table(table, assignments, tmp_path, partition=20, workers=1)
    changed = {
        path.name for path in tmp_path.glob("*.parquet") if path.stat().st_mtime_ns != times[path.name]
    }
    assert changed == {lost}
    assert second.equals(first)


def test_other_rows_or_tests_are_graded_anew(class_of_60, tmp_path, calls):
    table, assignments = class_of_60
    grade_table(table, assignments, tmp_path, partition=60, workers=1)
    changed = table.with_columns(code=pl.lit("def f(n): return n * n"))
    assert set(grade_table(changed, assignments, tmp_path, partition=60, workers=1)["grade"]) == {100.0}
    harder = {"task": calls(("f(3)", "10"))}
    assert set(grade_table(changed, harder, tmp_path, partition=60, workers=1)["grade"]) == {0.0}
    assert len(list(tmp_path.glob("*.parquet"))) == 3


def test_a_killed_run_goes_on_without_losing_or_doubling_a_row(class_of_60, tmp_path):
    table, assignments = class_of_60
    table.write_parquet(tmp_path / "table.parquet")
    folder = tmp_path / "parts"
    code = (
        "import sys, os, signal, polars as pl\n"
        "import tutee_grader.table as t\n"
        "from tutee_grader import Assignment\n"
        "write, done = t.write_table, []\n"
        "def dying(table, path):\n"
        "    if len(done) == 2:\n"
        "        table.write_parquet(path.with_name('.half.part'))\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    done.append(path)\n"
        "    write(table, path)\n"
        "t.write_table = dying\n"
        "rows = pl.read_parquet(sys.argv[1])\n"
        "t.grade_table(rows, {'task': Assignment.load(sys.argv[2])}, sys.argv[3], partition=10, workers=1)\n"
    )
    paths = [str(tmp_path / "table.parquet"), str(tmp_path / "task"), str(folder)]
    killed = subprocess.run([sys.executable, "-c", code, *paths], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(folder.glob("*.parquet"))) == 2
    whole = grade_table(table, assignments, tmp_path / "whole", partition=10, workers=1)
    assert grade_table(table, assignments, folder, partition=10, workers=1).equals(whole)


def test_the_cache_serves_a_later_run(calls, tmp_path):
    assignment = calls(("f(1)", "1"))
    program = "def f(n):\n    return 2\n"
    with Grader(1, cache=tmp_path / "cache.sqlite", bubblewrap=False) as first:
        (verdict,) = first.grade([(assignment, program)])
    with Grader(1, cache=tmp_path / "cache.sqlite", bubblewrap=False) as second:
        for group in second.process_groups():
            os.killpg(group, signal.SIGKILL)  # only the cache can answer now
        second._pool.slots.clear()
        assert second.grade([(assignment, program)]) == [verdict]


def test_the_cache_knows_programs_and_assignments_apart(calls, tmp_path, write):
    one, program = calls(("f(1)", "1")), "def f(n): return n"
    other = replace(one, tests=(replace(one.tests[0], returns=2),))
    with Grader(1, cache=tmp_path / "cache.sqlite", bubblewrap=False) as grader:
        assert grader.grade([(one, program)])[0].grade == 100.0
        assert grader.grade([(other, program)])[0].grade == 0.0
        assert grader.grade([(one, program + " + 1")])[0].grade == 0.0


@needs_dublin
def test_dublins_broken_test_file_is_named_with_its_line():
    with pytest.raises(AssignmentError) as caught:
        Assignment.load(DUBLIN / "assignments" / "weird_case", tests="asserts")
    assert "weird_case" in str(caught.value) and "test.py, line 1: " in str(caught.value)


@needs_dublin
@pytest.mark.slow
def test_dublin_grade_100_exactly_where_the_curators_say_correct(tmp_path):
    assignments = {}
    for folder in sorted((DUBLIN / "assignments").iterdir()):
        if folder.name != "weird_case":
            loaded = Assignment.load(folder, tests="asserts")
            assignments[folder.name] = replace(loaded, limits=Limits(seconds=0.15))
    table = (
        pl.read_csv(DUBLIN / "submissions.csv", infer_schema_length=0)
        .with_row_index("submission_id")
        .rename({"assignment_id": "assignment"})
        .filter(pl.col("assignment").is_in(list(assignments)))
        .with_columns(pl.col("submission_id").cast(pl.String))
    )
    verdicts = grade_table(table, assignments, tmp_path)
    both = table.join(verdicts, on="submission_id", validate="1:1")
    wrong = both.filter((pl.col("grade") == 100.0) != (pl.col("correct") == "1"))
    assert both.height == table.height > 4000
    assert wrong.select("assignment", "grade", "correct", "feedback").rows() == []

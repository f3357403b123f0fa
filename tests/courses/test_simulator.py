"""The simulator as a program: the same bytes under any hash seed, and dirt as it prints."""

import csv
import io
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import datetime
from itertools import pairwise

import pytest


def _simulate(demo, out, hash_seed="0"):
    command = [
        *(sys.executable, str(demo / "simulator"), "--out", str(out), "--seed", "7"),
        *("--semester", "2024-autumn=6", "--semester", "2025-autumn=3"),
    ]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def log(demo, tmp_path_factory):
    out = tmp_path_factory.mktemp("log") / "submissions.csv"
    printed = _simulate(demo, out)
    # Latin-1 reads any bytes: what is UTF-8 in it stays recognisable.
    rows = list(csv.DictReader(io.StringIO(out.read_bytes().decode("latin-1"), newline="")))
    return out, printed, rows


@pytest.fixture(scope="module")
def trajectories(log):
    """Rows in the order of the file, duplicates apart, by student and assignment."""
    found = defaultdict(list)
    for before, row in pairwise([{}, *log[2]]):
        if row != before:
            found[row["student"], row["assignment"]].append(row)
    return found


def _time(row):
    return datetime.fromisoformat(row["submitted_at"])


def test_the_same_bytes_under_another_hash_seed(demo, log, tmp_path):
    _simulate(demo, tmp_path / "again.csv", hash_seed="12345")
    assert (tmp_path / "again.csv").read_bytes() == log[0].read_bytes()


def test_every_student_is_marked_as_synthetic(log):
    students = {row["student"] for row in log[2]}
    assert students == {f"made-up-{number:03}" for number in range(1, 10)}


def test_both_semesters_are_there_with_students_of_their_own(log):
    semesters = defaultdict(set)
    for row in log[2]:
        semesters[row["semester"]].add(row["student"])
    assert {name: len(students) for name, students in semesters.items()} == {
        "2024-autumn": 6,
        "2025-autumn": 3,
    }


def test_it_prints_how_many_rows_it_wrote(log):
    assert log[1]["rows"] == len(log[2])


def _is_utf8(row):
    try:
        row["code"].encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def test_the_dirt_is_what_it_says(log, trajectories, demo_assignments):
    _, printed, rows = log
    counts = Counter()
    counts["duplicate row"] = sum(one == other for one, other in pairwise(rows))
    counts["blank code"] = sum(not row["code"].strip() for row in rows)
    counts["foreign encoding"] = sum(not _is_utf8(row) for row in rows)
    counts["impossible score"] = sum(not 0 <= float(row["score"]) <= 100 for row in rows)
    counts["unknown assignment"] = sum(row["assignment"] not in demo_assignments for row in rows)
    steps = [pair for work in trajectories.values() for pair in pairwise(work)]
    counts["resubmission"] = sum(one["code"] == other["code"] for one, other in steps)
    counts["clock skew"] = sum(_time(other) < _time(one) for one, other in steps)
    assert printed["dirt"] == dict(counts)
    assert min(counts.values()) >= 1


def test_logged_scores_are_the_graders(log, demo_assignments, grader):
    good = [row for row in log[2] if row["code"].strip() and row["assignment"] in demo_assignments]
    good = [row for row in good if 0 <= float(row["score"]) <= 100]
    verdicts = grader.grade([(demo_assignments[row["assignment"]], row["code"]) for row in good])
    wrong = [
        row
        for row, verdict in zip(good, verdicts, strict=True)
        if abs(verdict.grade - float(row["score"])) > 0.01
    ]
    assert wrong == []


def test_a_semester_without_a_number_is_refused(demo, tmp_path):
    command = [sys.executable, str(demo / "simulator"), "--out", str(tmp_path / "x.csv"), "--seed", "1"]
    done = subprocess.run([*command, "--semester", "autumn"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'autumn' is not like 2024-autumn=150" in done.stderr

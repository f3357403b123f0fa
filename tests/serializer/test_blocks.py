"""A log of which only a block is in memory at a time gives the dialogs that it gives as a whole."""

import os
import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tutee_grader.errors import InputError
from tutee_grader.processes import start_processes
from tutee_grader.verdict import VERDICTS, Outcome, Status, TestResult, Verdict
from tutee_serializer.course import Course
from tutee_serializer.dialogs import serialize as module
from tutee_serializer.dialogs.selection import SerializeConfig
from tutee_serializer.dialogs.serialize import serialize, write_dialogs
from tutee_serializer.schemas import SUBMISSIONS, TRAJECTORY

ASSIGNMENTS = ["double", "half", "triple"]
TABLES = ["submissions.parquet", "verdicts.parquet", "dialogs.parquet"]
START = datetime(2024, 10, 1, tzinfo=UTC)
Attempt = tuple[int, float | None, str | None]  # which program, its grade (None: no verdict), a tutor's words
Work = tuple[str, str, str, int, list[Attempt]]  # a trajectory, and the day on which it begins

ATTEMPTS = st.tuples(
    st.integers(0, 3), st.sampled_from([None, 0.0, 50.0, 100.0]), st.sampled_from([None, None, "Look."])
)
LOGS = st.lists(
    st.tuples(
        st.sampled_from(["one", "two"]),
        st.sampled_from([f"s{number}" for number in range(5)]),
        st.sampled_from(ASSIGNMENTS),
        st.integers(0, 60),
        st.lists(ATTEMPTS, min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=16,
    unique_by=lambda work: work[:3],
)
CONFIGS = st.builds(
    SerializeConfig,
    scope=st.sampled_from(["assignment", "course"]),
    skip_unchanged=st.booleans(),
    stop_at_full_marks=st.booleans(),
    min_turns=st.integers(1, 2),
    max_length_z=st.sampled_from([None, 1.0]),
    messages=st.booleans(),
    canaries=st.sampled_from([0, 4]),
)
BY_SEMESTER = {"train": ["one"], "test": ["two"]}
WAYS = st.one_of(
    st.tuples(st.just(BY_SEMESTER), CONFIGS),
    st.tuples(st.just({"split": "students", "test": 0.3}), CONFIGS),
    st.tuples(st.just({"split": "time", "test": 0.3}), st.builds(SerializeConfig, min_turns=st.just(1))),
    st.tuples(
        st.just(BY_SEMESTER), st.builds(SerializeConfig, split=st.just("assignment"), min_turns=st.just(1))
    ),
)


def tables(log: list[Work], order: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Submissions as `ingest` writes them, and their verdicts; in an order of their own, unless it is 0."""
    submissions: list[dict[str, Any]] = []
    verdicts: list[dict[str, Any]] = []
    for semester, student, assignment, day, attempts in log:
        for number, (program, grade, words) in enumerate(attempts, 1):
            name = f"{semester}/{student}/{assignment}/{number}"
            time = START + timedelta(days=day, hours=number)
            submissions.append(
                {"submission_id": name, "course": "small", "semester": semester, "student": student}
                | {"assignment": assignment, "order": number, "submitted_at": time}
                | {"code": f"x = {program}\n", "source_row": len(submissions) + 1}
                | {"messages": [{"author": "tutor", "sent_at": time, "text": words}] if words else []}
            )
            if grade is not None:
                tests = (TestResult("test", Outcome.FAILED, f"{name} fails"),)
                verdict = Verdict(grade, Status.COMPILES, tests).to_row()
                row = {"submission_id": name, **verdict, "feedback": f"On {name}: {grade}."}
                verdicts.append(dict.fromkeys(VERDICTS) | row)
    if order:
        random.Random(order).shuffle(verdicts)
    return pl.DataFrame(submissions, SUBMISSIONS).sort(*TRAJECTORY, "order"), pl.DataFrame(verdicts, VERDICTS)


Make = Callable[[dict[str, Any]], Course]


@pytest.fixture
def course(small_course: Callable[..., Course]) -> Make:
    """The small course, with three assignments and the semesters that are asked for."""
    known: dict[str, Course] = {}

    def load(semesters: dict[str, Any]) -> Course:
        if str(semesters) not in known:
            loaded = small_course(semesters=semesters)
            for name in ASSIGNMENTS[1:]:
                folder = loaded.assignments_folder
                shutil.copytree(folder / "double", folder / name, dirs_exist_ok=True)
            known[str(semesters)] = loaded
        return known[str(semesters)]

    return load


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def written(folder: Path, submissions: pl.DataFrame, verdicts: pl.DataFrame, *how: Any, block: int) -> Any:
    """Dialogs and counts that come of the tables by way of files."""
    files = [folder / name for name in TABLES]
    submissions.write_parquet(files[0])
    verdicts.write_parquet(files[1])
    counts = write_dialogs(*files[:2], *how, output=files[2], block=block)
    return pl.read_parquet(files[2]), counts


def assert_same(found: Any, expected: Any) -> None:
    """The same dialogs, in the same order within each level of feedback, and the same counts."""
    (dialogs, counts), (expected_dialogs, expected_counts) = found, expected
    assert counts == expected_counts
    assert dialogs.schema == expected_dialogs.schema
    assert dialogs.height == expected_dialogs.height
    for level in expected_dialogs["feedback"].unique():
        assert dialogs.filter(feedback=level).equals(expected_dialogs.filter(feedback=level))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    log=LOGS,
    way=WAYS,
    block=st.integers(1, 40),
    order=st.integers(0, 3),
    level=st.sampled_from(["none", "summary", "full"]),
    format=st.sampled_from(["code", "edits"]),
)
def test_blocks_of_any_size_give_the_dialogs_of_the_whole(
    course: Make,
    one_core: None,
    tmp_path: Path,
    log: list[Work],
    way: tuple[dict[str, Any], SerializeConfig],
    block: int,
    order: int,
    level: str,
    format: str,
) -> None:
    semesters, config = way
    assume(
        semesters.get("split") != "time" or len({day for *_, day, _ in log}) > 1
    )  # `ingest` refuses others
    how = (course(semesters), config, format, level)
    made = tables(log, order)
    try:
        expected = serialize(*made, *how)
    except InputError as error:
        with pytest.raises(InputError) as raised:
            written(tmp_path, *made, *how, block=block)
        assert str(raised.value) == str(error)
        return
    assert_same(written(tmp_path, *made, *how, block=block), expected)
    assert {path.name for path in tmp_path.iterdir()} == {"course", *TABLES}


CLASS: list[Work] = [
    (semester, f"s{number}", assignment, number, [(0, 0.0, None), (1, 50.0, "Look."), (1, 50.0, "Again.")])
    for semester in ("one", "two")
    for number in range(20)
    for assignment in ASSIGNMENTS
]


def test_several_processes_find_the_same(
    course: Make, two_cores: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def start(count: int) -> Any:
        started.append(count)
        return start_processes(count)

    monkeypatch.setattr(module, "start_processes", start)
    how = (course(BY_SEMESTER), SerializeConfig(canaries=3), "edits", "full")
    made = tables(CLASS, 0)
    assert_same(written(tmp_path, *made, *how, block=50), serialize(*made, *how))
    assert started == [2]


def test_a_small_log_starts_no_process(
    course: Make, two_cores: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "start_processes", None)
    how = (course(BY_SEMESTER), SerializeConfig(), "code", "summary")
    written(tmp_path, *tables(CLASS, 0), *how, block=10_000)


def test_what_fails_in_a_process_is_raised_and_nothing_is_written(
    course: Make, two_cores: None, tmp_path: Path
) -> None:
    submissions, verdicts = tables(CLASS, 0)
    unknown = pl.lit([{"name": "test", "outcome": "lost", "message": ""}], verdicts.schema["tests"])
    how = (course(BY_SEMESTER), SerializeConfig(), "code", "full")
    with pytest.raises(ValueError, match="'lost' is not a valid Outcome") as raised:
        written(tmp_path, submissions, verdicts.with_columns(tests=unknown), *how, block=50)
    assert "dialogs_of" in str(raised.value.__cause__)  # the other process's traceback
    assert {path.name for path in tmp_path.iterdir()} == {"course", *TABLES[:2]}


def test_a_table_that_is_not_there_names_the_stage_that_writes_it(course: Make, tmp_path: Path) -> None:
    how = (course(BY_SEMESTER), SerializeConfig(), "code", "summary")
    with pytest.raises(InputError, match=r"submissions\.parquet: missing; run `tutee ingest` first"):
        write_dialogs(tmp_path / "submissions.parquet", tmp_path / "verdicts.parquet", *how, tmp_path / "d")

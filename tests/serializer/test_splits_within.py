"""Laws of the splits within semesters: by student and by time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tutee_serializer.course import Course
from tutee_serializer.dialogs.selection import SelectionCounts, SerializeConfig, graded_rows, select
from tutee_serializer.errors import CourseError
from tutee_serializer.schemas import SUBMISSIONS, TRAJECTORY

START = datetime(2024, 10, 1, tzinfo=UTC)
# Trajectories of (semester, student, assignment), with the days at which each submission came.
TRAJECTORIES = st.lists(
    st.tuples(
        st.sampled_from(["one", "two"]),
        st.sampled_from([f"s{number}" for number in range(8)]),
        st.sampled_from(["double", "half"]),
        st.integers(0, 60),
        st.lists(st.integers(1, 20), max_size=4),
    ),
    min_size=2,
    max_size=14,
    unique_by=lambda row: row[:3],
)
LAW = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Row = tuple[str, str, str, int, list[int]]


def graded(trajectories: list[Row]) -> pl.DataFrame:
    rows = [
        {"semester": semester, "student": student, "assignment": assignment, "order": order}
        | {"submitted_at": START + timedelta(days=day), "code": f"x = {order}", "grade": 0.0}
        | {
            "submission_id": f"{semester}/{student}/{assignment}/{order}",
            "source_row": number,
            "messages": [],
        }
        for number, (semester, student, assignment, first, gaps) in enumerate(trajectories)
        for order, day in enumerate(accumulate([first, *gaps]), 1)
    ]
    schema = {name: kind for name, kind in SUBMISSIONS.items() if name in rows[0]} | {"grade": pl.Float64()}
    return pl.DataFrame(rows, schema=schema)


@pytest.fixture
def split(small_course: Callable[..., Course]) -> Callable[..., tuple[pl.DataFrame, SelectionCounts]]:
    courses: dict[str, Course] = {}

    def run(trajectories: list[Row], by: str, share: float, **config: Any) -> Any:
        if by not in courses:
            courses[by] = small_course(semesters={"split": by, "test": 0.5})
        asked = courses[by].semesters.model_copy(update={"test": share})
        course = courses[by].model_copy(update={"semesters": asked})
        log = graded(trajectories).sort(*TRAJECTORY, "order").lazy()
        rows = graded_rows(log, log, ["double", "half"])
        changed = pl.Series([True] * rows.height)
        return select(rows, changed, course, SerializeConfig(min_turns=1, **config))

    return run


Split = Callable[..., tuple[pl.DataFrame, SelectionCounts]]
SHARES = st.floats(0.05, 0.95)


@LAW
@given(TRAJECTORIES, SHARES, st.sampled_from(["assignment", "course"]))
def test_by_student_nobody_is_in_two_splits(
    split: Split, trajectories: list[Row], share: float, scope: str
) -> None:
    students = {student for _, student, *_ in trajectories}
    assume(len(students) > 1)
    rows, counts = split(trajectories, "students", share, scope=scope)
    sides = rows.group_by("student").agg(pl.col("split").n_unique())
    assert (sides["split"] == 1).all()
    tested = rows.filter(split="test")["student"].n_unique()
    assert tested == min(max(round(share * len(students)), 1), len(students) - 1)
    assert counts.rows_out == counts.rows_in


@LAW
@given(TRAJECTORIES, SHARES)
def test_by_time_all_that_is_trained_on_comes_before_all_that_is_tested(
    split: Split, trajectories: list[Row], share: float
) -> None:
    assume(len({first for *_, first, _ in trajectories}) > 1)
    rows, counts = split(trajectories, "time", share)
    assert set(rows["split"]) >= {"test"}
    cut = rows.filter(split="test")["submitted_at"].min()
    learnt = rows.filter(pl.col("split") != "test")
    assert learnt.filter(pl.col("submitted_at") >= cut).is_empty()
    learners = learnt.group_by("student").agg(pl.col("split").n_unique())
    assert (learners["split"] == 1).all()
    late = sum(
        START + timedelta(days=day) >= cut > START + timedelta(days=first)
        for *_, first, gaps in trajectories
        for day in accumulate([first, *gaps])
    )
    assert counts.dropped["after the cut"] == late


def test_work_that_spans_the_cut_is_trained_on_up_to_it(split: Split) -> None:
    spanning: Row = ("one", "ann", "double", 0, [1, 30])
    later: Row = ("one", "ben", "double", 10, [1])
    rows, counts = split([spanning, later], "time", 0.5)
    assert rows.filter(student="ann")["turn"].to_list() == [0, 1]
    assert set(rows.filter(student="ann")["split"]) == {"train"}
    assert set(rows.filter(student="ben")["split"]) == {"test"}
    assert counts.dropped["after the cut"] == 1


@pytest.mark.parametrize(
    ("by", "config", "problem"),
    [
        ("students", {"split": "assignment"}, "both say what is held out"),
        ("time", {"scope": "course"}, "`semesters.split: time` needs `scope: assignment`"),
        ("time", {"split": "both"}, "holds out no students"),
    ],
)
def test_a_split_that_contradicts_the_parameters_is_refused(
    split: Split, by: str, config: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(CourseError, match=problem):
        split([("one", "ann", "double", 0, [1]), ("one", "ben", "double", 10, [])], by, 0.5, **config)

"""What each semester of a log is for: laws of `resolve`, and what the course file may say."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tutee_serializer.course import Course
from tutee_serializer.errors import CourseError
from tutee_serializer.semesters import Roles, Semesters, natural, resolve

START = datetime(2024, 10, 1, tzinfo=UTC)
SCHEMA = {
    "semester": pl.String,
    "student": pl.String,
    "assignment": pl.String,
    "submitted_at": pl.Datetime("us", "UTC"),
}
NAMES = ("2023", "2024", "2025-spring", "2025-autumn", "latest", "all")

# Submissions of (semester, student, day), with times or without.
work = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from("abcd"), st.integers(0, 500)), min_size=1, max_size=30
)
by_semester = st.one_of(
    st.just(Semesters(train="all", test="latest")),
    st.builds(Semesters, train=st.integers(1, 3), test=st.just("latest")),
    st.builds(Semesters, train=st.integers(1, 3), test=st.lists(st.sampled_from(NAMES), min_size=1)),
    st.builds(Semesters, train=st.just("all"), test=st.lists(st.sampled_from(NAMES), min_size=1)),
    st.builds(Semesters, train=st.lists(st.sampled_from(NAMES), min_size=1), test=st.just("latest")),
    st.just(Semesters(train=["2024", "all"], test=["latest"])),
)


def submissions(rows: list[tuple[str, str, int]], timed: bool = True) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (semester, student, "double", START + timedelta(days=day) if timed else None)
            for semester, student, day in rows
        ],
        schema=SCHEMA,
        orient="row",
    )


@given(work, by_semester, st.booleans())
def test_no_semester_is_both_train_and_test(
    rows: list[tuple[str, str, int]], asked: Semesters, timed: bool
) -> None:
    roles = resolve(asked, submissions(rows, timed))
    assert not set(roles.train) & set(roles.test)
    assert set(roles.used) == {*roles.train, *roles.test} <= set(roles.found)


@given(work, by_semester, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(
    rows: list[tuple[str, str, int]], asked: Semesters, timed: bool, random: Any
) -> None:
    before = resolve(asked, submissions(rows, timed))
    random.shuffle(rows)
    after = resolve(asked, submissions(rows, timed))
    assert (after, list(after.found)) == (before, list(before.found))


@given(work, by_semester, st.booleans())
def test_leaving_out_what_has_no_role_changes_no_role(
    rows: list[tuple[str, str, int]], asked: Semesters, timed: bool
) -> None:
    table = submissions(rows, timed)
    roles = resolve(asked, table)
    again = resolve(asked, table.filter(pl.col("semester").is_in(roles.used)))
    assert (again.train, again.test) == (roles.train, roles.test)


@given(work, st.one_of(st.just("all"), st.integers(1, 6)))
def test_a_newer_semester_is_the_test_semester_and_the_former_one_is_trained_on(
    rows: list[tuple[str, str, int]], train: Any
) -> None:
    asked = Semesters(train=train, test="latest")
    before = resolve(asked, submissions(rows))
    after = resolve(asked, submissions([*rows, ("newer", "e", 1000)]))
    assert after.test == ["newer"]
    assert after.train[-1:] == before.test
    if train == "all":
        assert after.train == before.train + before.test


@given(work, st.floats(0.01, 0.99))
def test_a_cut_leaves_work_on_both_sides(rows: list[tuple[str, str, int]], share: float) -> None:
    table = submissions(rows)
    roles = resolve(Semesters(split="time", test=share), table)
    begun = table.group_by("semester", "student").agg(pl.col("submitted_at").min())["submitted_at"]
    assume(begun.n_unique() > 1)
    assert roles.cut is not None
    assert begun.min() < roles.cut <= begun.max()
    assert roles.problems() == []


def test_where_all_work_begins_at_once_no_cut_is_possible() -> None:
    (problem,) = resolve(Semesters(split="time", test=0.5), submissions([("2024", "a", 0)])).problems()
    assert "begins at two moments" in problem


def test_names_without_times_are_in_natural_order() -> None:
    rows = [(name, "a", 0) for name in ("2024-10", "2024-9", "2024-spring", "2024-autumn", "2023")]
    roles = resolve(Semesters(train="all", test="latest"), submissions(rows, timed=False))
    assert list(roles.found) == ["2023", "2024-9", "2024-10", "2024-autumn", "2024-spring"]
    assert natural("week 9") < natural("Week 10")


def test_where_one_semester_has_no_times_names_order_all() -> None:
    table = pl.concat(
        [submissions([("2", "a", 9), ("3", "a", 1)]), submissions([("1", "a", 0)], timed=False)]
    )
    assert list(resolve(Semesters(train="all", test="latest"), table).found) == ["1", "2", "3"]


def test_times_go_before_names_and_one_wrong_clock_changes_nothing() -> None:
    rows = [("2024-spring", student, day) for student, day in (("a", 1), ("b", 2), ("c", 400))]
    rows += [("2024-autumn", "d", 200)]
    assert list(resolve(Semesters(train="all", test="latest"), submissions(rows)).found) == [
        "2024-spring",
        "2024-autumn",
    ]


def test_a_semester_called_latest_is_a_name_in_a_list_only() -> None:
    table = submissions([("latest", "a", 0), ("2024", "b", 100)])
    assert resolve(Semesters(train="all", test="latest"), table).test == ["2024"]
    assert resolve(Semesters(train="all", test=["latest"]), table).test == ["latest"]


def _said(asked: Semesters, rows: list[tuple[str, str, int]]) -> tuple[str, list[str]]:
    roles: Roles = resolve(asked, submissions(rows))
    return str(roles), roles.problems()


THREE = [("2023", "a", 0), ("2024", "b", 100), ("2024", "c", 100), ("2025", "d", 200)]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"train": "all", "test": "latest"}, "train 2023, 2024; test 2025 (the latest)"),
        ({"train": 1, "test": "latest"}, "train 2024 (up to 1 before); test 2025 (the latest)"),
        ({"train": ["2023"], "test": ["2024"]}, "train 2023; test 2024"),
        (
            {"split": "students", "test": 0.25},
            "2023, 2024, 2025, not told apart: split by student, 25% of 4 students for testing",
        ),
    ],
)
def test_what_was_resolved_is_said(asked: dict[str, Any], said: str) -> None:
    assert _said(Semesters(**asked), THREE) == (said, [])


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        ({"train": ["2023"], "test": ["2026"]}, ["no submission is of `semesters.test` 2026"]),
        ({"train": ["2022", "2023"], "test": "latest"}, ["no submission is of `semesters.train` 2022"]),
        ({"train": ["2025"], "test": "latest"}, ["2025 is the latest semester, and `semesters.train` names"]),
        (
            {"train": 2, "test": ["2023"]},
            ["`semesters.train: 2` leaves nothing to train on", "split: students"],
        ),
    ],
)
def test_an_empty_role_is_said_with_what_the_log_has(asked: dict[str, Any], parts: list[str]) -> None:
    _, (problem,) = _said(Semesters(**asked), THREE)
    for part in [*parts, "submissions of 2023 (1), 2024 (2), 2025 (1)"]:
        assert part in problem


@pytest.mark.parametrize(
    ("section", "problems"),
    [
        (
            {"train": "2023", "test": "newest"},
            ["`semesters.train`: write a list", "`semesters.test`: write a"],
        ),
        ({}, ["`semesters.train`: write a list", "`semesters.test`: write a list"]),
        ({"train": 0, "test": []}, ["`semesters.train`: at least 1", "`semesters.test`: write a list"]),
        ({"train": ["a"], "test": ["b", "a"]}, ["`semesters.test`: a cannot be both"]),
        (
            {"train": [["a"]], "test": [True]},
            ["`semesters.train`: write a", "`semesters.test`: write a list"],
        ),
        ({"split": "students", "train": "all"}, ["remove `train`", "`semesters.test`: with `split` it is"]),
        ({"split": "time", "test": 1.0}, ["`semesters.test`: with `split` it is the share"]),
        ({"split": "weeks", "train": "all", "test": "latest"}, ["`semesters.split`: Input should be"]),
    ],
)
def test_every_problem_of_the_section_is_said_at_once(
    course_file: Callable[..., Path], section: dict[str, Any], problems: list[str]
) -> None:
    with pytest.raises(CourseError) as caught:
        Course.load(course_file(semesters=section))
    lines = str(caught.value).splitlines()
    assert len(lines) == len(problems)
    for line, problem in zip(lines, problems, strict=True):
        assert problem in line

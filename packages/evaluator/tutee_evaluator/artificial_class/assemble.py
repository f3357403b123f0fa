"""From played trajectories to the SUBMISSIONS of an artificial class."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import polars as pl

from tutee_evaluator.artificial_class.attendance import Attendance
from tutee_evaluator.artificial_class.times import Times, kind
from tutee_evaluator.schemas import Outcome
from tutee_grader.verdict import Status
from tutee_serializer.logs.encodings import UNREADABLE
from tutee_serializer.schemas import SUBMISSIONS, TRAJECTORY

SEMESTER = "artificial"
# Graded 0, and nothing that a log could hold.
_NO_TEXT = [str(Status.NOT_TEXT), str(Status.TOO_LARGE)]


def names(students: int) -> list[str]:
    """Names that nobody takes for a real student's."""
    width = max(3, len(str(students)))
    return [f"artificial-{number:0{width}}" for number in range(1, students + 1)]


def draw_work(students: Sequence[str], attendance: Attendance, seed: int) -> Iterator[tuple[str, str]]:
    """Who works on what: pairs of a student and an assignment. A student's depend on nobody else's."""
    for student in students:
        for assignment in attendance.draw(Random(repr((seed, student, "attendance")))):
            yield student, assignment


def attempts_of(played: pl.DataFrame, course: str, times: Times | None, seed: int) -> pl.DataFrame:
    """SUBMISSIONS of the programs in PLAYED, with `grade` and `status` beside.

    A turn without a program, or with one that is no text, is left out: nothing was handed in. Line ends are
    those that a log is read with. Without `times` there are none.
    """
    attempts = (
        played.filter(
            pl.col("outcome") == Outcome.PROGRAM,
            ~pl.col("status").is_in(_NO_TEXT),
            ~pl.col("code").str.contains(UNREADABLE, literal=True),
        )
        .sort("student", "assignment", "step")
        .with_columns(
            pl.col("code").str.replace_all(r"\r+\n", "\n"),
            course=pl.lit(course),
            semester=pl.lit(SEMESTER),
            order=pl.int_range(1, pl.len() + 1).over("student", "assignment"),
            logged_score=pl.col("grade"),
            logged_correct=pl.lit(None, pl.Boolean),
            messages=pl.lit([], SUBMISSIONS["messages"]),
            arm=pl.lit(None, pl.String),
            source_row=pl.int_range(1, pl.len() + 1),
        )
        .with_columns(submission_id=pl.concat_str("student", "assignment", "order", separator="/"))
    )
    moments = pl.Series("submitted_at", list(_moments(attempts, times, seed)), SUBMISSIONS["submitted_at"])
    return attempts.with_columns(moments).select(
        *(pl.col(name).cast(dtype) for name, dtype in SUBMISSIONS.items()), "grade", "status"
    )


def _moments(attempts: pl.DataFrame, times: Times | None, seed: int) -> Iterator[Any]:
    """When each attempt was handed in; the rows are in order."""
    if times is None:
        yield from [None] * attempts.height
        return
    for (student, assignment), work in attempts.group_by(TRAJECTORY[1:], maintain_order=True):
        random = Random(repr((seed, student, assignment, "times")))
        at = times.begin(str(assignment), random)
        yield at
        for before in work.select(kind()).to_series()[:-1]:
            at = times.next(at, before, random)
            yield at

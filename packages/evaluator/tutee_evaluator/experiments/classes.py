"""Artificial classes: where their students begin."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from tutee_evaluator.engines import Engine
from tutee_evaluator.experiments.config import ClassConfig
from tutee_evaluator.experiments.play import Start
from tutee_grader.errors import InputError
from tutee_grader.verdict import Verdict
from tutee_serializer.dialogs.dialog import Dialog

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment

STUDENTS = 30  # who begin at the task where the experiment does not say how many


def draw_class(
    config: ClassConfig,
    engine: Engine,
    assignments: "Mapping[str, Assignment]",
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
) -> list[Start]:
    """The starts of a class, ordered by student and assignment.

    Held-out students (split `test` of `dialogs`, of the format and feedback that `engine` reads) start after
    the first submission on an assignment that it did not solve. Raises InputError where there are none, or
    `config` names assignments that are not there.
    """
    wanted = config.assignments or tuple(sorted(assignments))
    if unknown := [name for name in wanted if name not in assignments]:
        raise InputError(
            f"class.assignments: there is no {', '.join(unknown)}; there are {', '.join(sorted(assignments))}"
        )
    if config.start == "task":
        students = [f"artificial-{number + 1:03}" for number in range(config.students or STUDENTS)]
        opened = {
            name: Dialog.start(engine.format, engine.feedback, assignments[name].task) for name in wanted
        }
        return [Start(student, name, opened[name]) for student in students for name in wanted]
    return _histories(config, wanted, engine, dialogs, submissions, verdicts)


def _histories(
    config: ClassConfig,
    wanted: tuple[str, ...],
    engine: Engine,
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
) -> list[Start]:
    found = dialogs.filter(
        pl.col("assignment").is_in(wanted),
        split="test",
        format=engine.format,
        feedback=engine.feedback,
    ).sort("student", "assignment", "dialog_id")
    first = pl.col("turns").list.first().struct
    found = found.filter(first.field("grade") < 100)
    if found.is_empty():
        raise InputError(
            "no held-out student failed at a first submission on these assignments, so there is nobody to "
            "start from; see `semesters: test` of the course file, or let the class begin with `start: task`"
        )
    if config.students is not None:
        students = found["student"].unique().sort()
        count = min(config.students, len(students))
        found = found.filter(pl.col("student").is_in(students.sample(count, seed=config.seed).implode()))
    rows = found.with_columns(submission_id=first.field("submission_id"))
    graded = submissions.select("submission_id", "code").join(verdicts, on="submission_id")
    known = {row["submission_id"]: row for row in graded.iter_rows(named=True)}
    starts = []
    for row in rows.iter_rows(named=True):
        last = known[row["submission_id"]]
        starts.append(
            Start(
                row["student"],
                row["assignment"],
                Dialog.from_row(row).before(1),
                (last["code"], Verdict.from_row(last)),
            )
        )
    return starts

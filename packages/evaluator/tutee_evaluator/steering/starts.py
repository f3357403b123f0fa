"""The wrong programs of held-out students from which they are led on."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from tutee_grader.errors import InputError
from tutee_grader.verdict import Verdict
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.held_out import held_out_turns


@dataclass(frozen=True)
class Start:
    """A student's wrong program: `dialog` ends with the feedback on it, `grade` is 0 to 100."""

    student: str
    assignment: str
    dialog: Dialog
    program: str
    grade: float


def draw_starts(
    dialogs: pl.DataFrame, submissions: pl.DataFrame, verdicts: pl.DataFrame, limit: int, seed: int
) -> list[Start]:
    """Up to `limit` wrong programs of held-out students, drawn with `seed`, of as many students as there are.

    `dialogs` (DIALOGS) are of one format and level of feedback. Raises InputError where no program is wrong.
    """
    wrong = (
        held_out_turns(dialogs)
        .rename({"start": "number"})
        .filter(pl.col("grade") < 100)
        .join(submissions.select("submission_id", "assignment", "code"), on="submission_id")
        .sort("dialog_id", "number")
    )
    if wrong.is_empty():
        raise InputError(
            "no held-out student has submitted a wrong program, so there is nobody to lead; see `semesters: "
            "test` of the course file and the rules under `serialize` in params.yaml"
        )
    shuffled = wrong.sample(fraction=1.0, shuffle=True, seed=seed)
    drawn = shuffled.sort(pl.int_range(pl.len()).over("student"), maintain_order=True).head(limit)
    with_verdicts = drawn.join(verdicts, on="submission_id", suffix="_verdict", maintain_order="left")
    return list(_starts(with_verdicts, dialogs))


def _starts(drawn: pl.DataFrame, dialogs: pl.DataFrame) -> Iterator[Start]:
    whole = {row["dialog_id"]: Dialog.from_row(row) for row in _rows(drawn, dialogs)}
    for row in drawn.iter_rows(named=True):
        dialog = whole[row["dialog_id"]].before(row["number"])
        dialog.append(row["code"], Verdict.from_row(row))
        yield Start(row["student"], row["assignment"], dialog, row["code"], row["grade"])


def _rows(drawn: pl.DataFrame, dialogs: pl.DataFrame) -> Iterator[dict[str, object]]:
    return dialogs.join(drawn, on="dialog_id", how="semi").iter_rows(named=True)

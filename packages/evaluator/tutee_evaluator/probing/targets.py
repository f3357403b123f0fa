"""What comes after a submission in the real trajectory, and the simple counts that are known at it."""

from dataclasses import dataclass

import polars as pl

from tutee_evaluator.distance import indel_distance, token_distances
from tutee_serializer.dialogs.held_out import held_out_turns

LARGE = 5  # lines added or removed, from which on Pencil Code (arXiv 2510.05056) calls an edit large
SOLVED = 100


@dataclass(frozen=True)
class Target:
    """What a probe predicts: a column of the table of `find_targets`; `is_outcome`: true or false."""

    name: str
    words: str
    is_outcome: bool = True


TARGETS = (
    Target("attempts_left", "attempts left", is_outcome=False),
    Target("distance", "distance to the end", is_outcome=False),
    Target("large_edit", "next edit is large"),
    Target("small_edit", "next edit is small"),
    Target("modification", "next edit modifies"),
    Target("solves", "will solve"),
    Target("gives_up", "gives up here"),
    Target("backtracks", "will backtrack"),
)
COUNTS = ("attempt", "grade", "change", "lines")  # with which assignment it is, the baseline


def find_targets(dialogs: pl.DataFrame, submissions: pl.DataFrame) -> pl.DataFrame:
    """A row for each submission of the held-out students of DIALOGS that has not solved its task, by dialog.

    A trajectory ends with the first program that solves, or with the student's last one. `turn` is the
    number, from 1, of the student's turn in the dialog; `attempt` that of the submission to the assignment,
    `change` the grade less that of the attempt before (0: there is none). A null target is not defined: the
    last submission has no next edit.

    `attempts_left`: submissions that follow. `distance`: the edit distance of tokens to the last program.
    The next edit is `large_edit` where LARGE lines or more are added or removed, of fewer `modification`
    where the number of lines stays, else `small_edit`; a program handed in again is none of them. `solves`:
    one that follows does. `gives_up`: none follows. `backtracks`: one that follows has a lower grade.
    """
    trajectory = ["dialog_id", "assignment"]
    turns = (
        held_out_turns(dialogs)
        .rename({"start": "turn"})
        .join(submissions.select("submission_id", "assignment", "code"), on="submission_id")
        .sort("student", "dialog_id", "turn")
    )
    grade = pl.col("grade")
    until_solved = turns.filter((grade.cum_max().shift(1) < SOLVED).fill_null(True).over(trajectory))
    later = grade.reverse().shift(1)
    every = until_solved.with_columns(
        attempt=pl.int_range(1, pl.len() + 1).over(trajectory),
        change=(grade - grade.shift(1)).fill_null(0.0).over(trajectory),
        lines=pl.col("code").str.strip_chars().str.split("\n").list.len(),
        attempts_left=pl.int_range(pl.len(), 0, -1).over(trajectory) - 1,
        last=pl.col("code").last().over(trajectory),
        next=pl.col("code").shift(-1).over(trajectory),
        solves=(later.cum_max().reverse() >= SOLVED).fill_null(False).over(trajectory),
        backtracks=(later.cum_min().reverse() < grade).fill_null(False).over(trajectory),
    )
    rows = every.filter(grade < SOLVED)
    kinds = [
        None if after is None else _kind(before, after) for before, after in rows["code", "next"].iter_rows()
    ]
    return rows.with_columns(
        pl.Series("distance", token_distances(list(rows["code", "last"].iter_rows())), pl.Float64),
        *(
            pl.Series(name, [None if kind is None else kind == name for kind in kinds], pl.Boolean)
            for name in ("large_edit", "small_edit", "modification")
        ),
        gives_up=pl.col("attempts_left") == 0,
    ).drop("last", "next")


def _kind(before: str, after: str) -> str | None:
    """The kind of an edit, by its target's name; of no change, another word."""
    one, other = before.splitlines(), after.splitlines()
    changed = indel_distance(one, other)
    if changed >= LARGE:
        return "large_edit"
    if not changed:
        return "none"
    return "modification" if len(one) == len(other) else "small_edit"

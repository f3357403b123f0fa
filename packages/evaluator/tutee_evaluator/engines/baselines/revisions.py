"""What students handed in after each submission, from which baselines learn."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import polars as pl

from tutee_grader.files import read_table, write_table
from tutee_serializer.dialogs.dialog import Dialog


class Change(StrEnum):
    """How a grade changes from one submission to the next; SOLVES: it rises to 100."""

    FALLS = "falls"
    STAYS = "stays"
    RISES = "rises"
    SOLVES = "solves"


@dataclass(frozen=True, order=True)
class Revision:
    """A submission and the one after it by the same student on the same task, with their grades.

    `student` is the student's pseudonym.
    """

    program: str
    grade: float
    next: str
    next_grade: float
    student: str = field(compare=False)

    @property
    def change(self) -> Change:
        """How the grade changes."""
        if self.next_grade == self.grade:
            return Change.STAYS
        if self.next_grade < self.grade:
            return Change.FALLS
        return Change.SOLVES if self.next_grade == 100 else Change.RISES


Revisions = Mapping[str, Sequence[Revision]]  # by task

FILE = "revisions.parquet"  # the table in the folder of a student that looks them up

# One row per revision. By its column `student`, those of a student can be removed.
TABLE = pl.Schema(
    {
        "task": pl.String,
        "program": pl.String,
        "grade": pl.Float64,
        "next": pl.String,
        "next_grade": pl.Float64,
        "student": pl.String,
    }
)


def read_revisions(dialogs: pl.DataFrame, split: str) -> Revisions:
    """Each task's revisions in the dialogs (DIALOGS) of a split, in an order that is not that of the rows."""
    found = defaultdict(list)
    for row in dialogs.filter(pl.col("split") == split).iter_rows(named=True):
        dialog = Dialog.from_row(row)
        for turn, after in pairwise(dialog.turns()):
            if after.task == turn.task:
                task = dialog.messages[turn.task]["content"]
                found[task].append(
                    Revision(turn.program, turn.grade, after.program, after.grade, row["student"])
                )
    return {task: sorted(found[task]) for task in sorted(found)}


def save_revisions(revisions: Revisions, folder: Path) -> None:
    """Writes them into a student's folder."""
    rows = [(task, *astuple(revision)) for task, found in revisions.items() for revision in found]
    write_table(pl.DataFrame(rows, schema=TABLE, orient="row"), folder / FILE)


def load_revisions(folder: Path) -> Revisions:
    """Reads what `save_revisions` wrote; raises InputError where there is no such table."""
    found: defaultdict[str, list[Revision]] = defaultdict(list)
    table = read_table(folder / FILE, TABLE, "train calibrated").select(TABLE.names())
    for task, *values in table.iter_rows():
        found[task].append(Revision(*values))
    return dict(found)

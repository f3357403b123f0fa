"""What students handed in after each submission, from which baselines learn."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import polars as pl

from tutee_serializer.dialogs.dialog import Dialog


@dataclass(frozen=True, order=True)
class Revision:
    """A submission and the one after it by the same student on the same task, with their grades."""

    program: str
    grade: float
    next: str
    next_grade: float

    @property
    def stays(self) -> bool:
        """Whether the grade is the same as before."""
        return self.next_grade == self.grade


def read_revisions(dialogs: pl.DataFrame, split: str) -> dict[str, list[Revision]]:
    """Each task's revisions in the dialogs (DIALOGS) of a split, in an order that is not that of the rows."""
    found = defaultdict(list)
    for row in dialogs.filter(pl.col("split") == split).iter_rows(named=True):
        dialog = Dialog.from_row(row)
        for turn, after in pairwise(dialog.turns()):
            if after.task == turn.task:
                task = dialog.messages[turn.task]["content"]
                found[task].append(Revision(turn.program, turn.grade, after.program, after.grade))
    return {task: sorted(found[task]) for task in sorted(found)}

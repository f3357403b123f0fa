"""The baseline that improves as often as training students did."""

from collections import Counter
from random import Random

import polars as pl

from tutee_evaluator.engines.baselines.baseline import Baseline
from tutee_evaluator.engines.baselines.revisions import Change, Revision, read_revisions
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.levels import Feedback


class Transition(Baseline):
    """The baseline that keeps its grade as often as training students did, or submits what one of them did.

    It draws one of their revisions on the same task from the same grade, or from the nearest grade that there
    is. Where that revision keeps the grade, it submits the last program again, else the program revised to.
    So its grades have the training students' frequencies. Without a draw, it submits the last program again
    if at least half of the revisions keep the grade, else what most of the others led to. For a task on which
    no training student submitted twice it is COPY.
    """

    def __init__(self, format: str, feedback: Feedback, dialogs: pl.DataFrame) -> None:
        super().__init__(format, feedback)
        self._revisions = read_revisions(dialogs, "train")

    def next_program(self, dialog: Dialog, previous: str, random: Random | None) -> str:
        found = self._from_grade(dialog)
        if not found:
            return previous
        if random:
            drawn = random.choice(found)
            return previous if drawn.change is Change.STAYS else drawn.next
        left = [revision.next for revision in found if revision.change is not Change.STAYS]
        return previous if 2 * len(left) <= len(found) else Counter(left).most_common(1)[0][0]

    def _from_grade(self, dialog: Dialog) -> list[Revision]:
        """The revisions from the dialog's last grade, or from the nearest one; of two as near, the lower."""
        revisions = self._revisions.get(dialog.task, [])
        last = dialog.grades[-1]
        grade = min(
            (revision.grade for revision in revisions),
            key=lambda grade: (abs(grade - last), grade),
            default=None,
        )
        return [revision for revision in revisions if revision.grade == grade]

"""Which students of a class work on which assignments, learnt from a semester of a log."""

from dataclasses import dataclass
from random import Random
from typing import Self

import polars as pl

from tutee_serializer.semesters import natural


@dataclass(frozen=True)
class Attendance:
    """How likely a student works on each assignment, by whether they worked on the one before.

    A chain over the assignments in the order of the course: who drops out stays away more often than not,
    and nobody's own list of assignments is copied. `chances` has for each assignment the chance of who left
    out the one before, and of who did not.
    """

    assignments: tuple[str, ...]
    chances: tuple[tuple[float, float], ...]

    @classmethod
    def fit(cls, submissions: pl.DataFrame) -> Self:
        """Learns from SUBMISSIONS of one semester, of which there is at least one.

        The order of the course is that in which the class began the assignments, or that of their names
        where the log has no times.
        """
        begun = submissions.group_by("student", "assignment").agg(at=pl.col("submitted_at").min())
        middles = dict(begun.group_by("assignment").agg(pl.col("at").median()).iter_rows())
        timed = None not in middles.values()
        names = sorted(middles, key=lambda name: ((middles[name],) if timed else (), natural(name)))
        everyone = before = set(begun["student"])
        chances = []
        for name in names:
            workers = set(begun.filter(assignment=name)["student"])
            chances.append((_share(workers, everyone - before, everyone), _share(workers, before, everyone)))
            before = workers
        return cls(tuple(names), tuple(chances))

    def draw(self, random: Random) -> list[str]:
        """The assignments of one student, in the order of the course: at least one, as of all in the log."""
        drawn: list[str] = []
        while not drawn:
            worked = True  # so for the first one the whole class counts
            for name, (after_none, after_one) in zip(self.assignments, self.chances, strict=True):
                worked = random.random() < (after_one if worked else after_none)
                if worked:
                    drawn.append(name)
        return drawn


def _share(workers: set[str], group: set[str], everyone: set[str]) -> float:
    """The share of `workers` in a group; in the whole class where the group is empty."""
    return len(workers & group) / len(group) if group else len(workers) / len(everyone)

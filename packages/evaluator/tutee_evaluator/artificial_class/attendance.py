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
    out the one before, and of who did not; of the first one they are the same.
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
        workers = {
            name: set(begun.filter(assignment=name)["student"]) for name in names
        }  # fmt: skip
        everyone = set(begun["student"])
        chances = []
        before = everyone
        for name in names:
            share = len(workers[name]) / len(everyone)
            chances.append(
                tuple(
                    len(workers[name] & group) / len(group) if group else share
                    for group in (everyone - before, before)
                )
            )
            before = workers[name]
        return cls(tuple(names), tuple(chances))

    def draw(self, random: Random) -> list[str]:
        """The assignments of one student, in the order of the course: at least one, as of all in the log."""
        drawn: list[str] = []
        while not drawn:
            worked = True
            for name, (after_none, after_one) in zip(self.assignments, self.chances, strict=True):
                worked = random.random() < (after_one if worked else after_none)
                if worked:
                    drawn.append(name)
        return drawn

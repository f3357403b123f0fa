"""When students begin an assignment and how long they take for the next attempt, learnt from a log."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import exp
from random import Random
from statistics import quantiles
from typing import Self

import polars as pl

from tutee_grader.failures import RAN
from tutee_serializer.schemas import TRAJECTORY

FEWEST = 20  # gaps after attempts of one kind; with fewer, gaps after any attempt are drawn
BEGIN_SPREAD_S = 600.0
_ANY = "any"


@dataclass(frozen=True)
class Times:
    """The moments at which students began each assignment, and their gaps between attempts.

    A drawn one is a real one moved a little (a smoothed bootstrap), to the second: it keeps the days, hours
    and pauses of the class, and is no student's own. `begins` has seconds since 1970 by assignment, `gaps`
    logarithms of seconds by the `kind` of the attempt before.
    """

    begins: dict[str, list[float]]
    gaps: dict[str, list[float]]

    @classmethod
    def fit(cls, attempts: pl.DataFrame, semester: str) -> Self | None:
        """Learns from graded SUBMISSIONS: gaps from all of them, the calendar from those of `semester`.

        None where the log has no times: then there are none to be learnt. A gap that a wrong clock made
        negative is left out.
        """
        timed = attempts.sort(*TRAJECTORY, "order").with_columns(
            at=pl.col("submitted_at").dt.timestamp("us") / 1_000_000, kind=kind()
        )
        begins = (
            timed.filter(semester=semester)
            .group_by("student", "assignment", maintain_order=True)
            .agg(pl.col("at").first())
            .drop_nulls()
        )
        before = timed.with_columns(gap=pl.col("at").diff().over(TRAJECTORY), after=pl.col("kind").shift(1))
        gaps = before.filter(pl.col("gap") >= 0).select("after", pl.col("gap").clip(1).log())
        if begins.is_empty() or gaps.is_empty():
            return None
        by_kind = {str(key[0]): group["gap"].to_list() for key, group in gaps.group_by("after")}
        return cls(
            {str(key[0]): group["at"].to_list() for key, group in begins.group_by("assignment")},
            {name: found for name, found in by_kind.items() if len(found) >= FEWEST}
            | {_ANY: gaps["gap"].to_list()},
        )

    def begin(self, assignment: str, random: Random) -> datetime:
        """When a student hands in their first program for an assignment."""
        moments = self.begins.get(assignment) or [at for one in self.begins.values() for at in one]
        return _moment(random.choice(moments) + random.gauss(0, BEGIN_SPREAD_S))

    def next(self, at: datetime, kind: str, random: Random) -> datetime:
        """When they hand in the next one, after an attempt of that kind at `at`."""
        gaps = self.gaps.get(kind, self.gaps[_ANY])
        gap = exp(random.choice(gaps) + random.gauss(0, _bandwidth(gaps)))
        return at + timedelta(seconds=max(1, round(gap)))


def kind() -> pl.Expr:
    """What kind of attempt a row with `grade` and `status` is, as far as it matters for what comes next."""
    return (
        pl.when(pl.col("status") != RAN)
        .then(pl.lit("no program that runs"))
        .when(pl.col("grade") == 100)
        .then(pl.lit("solved"))
        .when(pl.col("grade") > 0)
        .then(pl.lit("some tests pass"))
        .otherwise(pl.lit("no test passes"))
    )


def _bandwidth(values: list[float]) -> float:
    """Silverman's rule of thumb, in the form that long tails and two humps do not inflate."""
    if len(values) < 2:
        return 0.0
    low, _, high = quantiles(values, n=4)
    return float(0.9 * (high - low) / 1.34 * len(values) ** -0.2)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds), UTC)

"""Looks figures up in METRICS, and picks from them what the page shows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from tutee_evaluator.metrics.outcomes import SHARE
from tutee_evaluator.metrics.strata import ASSIGNMENT, CHANGED, OVERALL, STEP
from tutee_evaluator.pairing import NONE, SOLVED, SOME, UNREADABLE
from tutee_evaluator.schemas import COPY


@dataclass(frozen=True)
class Figure:
    """A value of METRICS with its 95% interval and the number of steps behind it."""

    value: float
    low: float
    high: float
    n: int


class Figures:
    """The figures of a METRICS table."""

    def __init__(self, metrics: pl.DataFrame) -> None:
        strata = metrics["stratum"].unique().to_list()
        self.steps = sorted(int(name.removeprefix(STEP)) for name in strata if name.startswith(STEP))
        self.assignments = sorted(
            name.removeprefix(ASSIGNMENT) for name in strata if name.startswith(ASSIGNMENT)
        )
        self._figures = {
            (row["method"], row["metric"], row["stratum"]): Figure(
                row["value"], row["low"], row["high"], row["n"]
            )
            for row in metrics.drop_nulls("value").iter_rows(named=True)
        }

    def get(self, method: str, metric: str, stratum: str = OVERALL) -> Figure | None:
        """The figure, or None where it is not defined."""
        return self._figures.get((method, metric, stratum))

    def measured(self, methods: Sequence[str]) -> list[str]:
        """Those of `methods` that have figures, in the same order."""
        return [method for method in methods if self.get(method, "coverage")]

    def best(self, methods: Sequence[str]) -> str:
        """The method with the highest grade proximity times coverage where the real grade changed.

        There, a method that changes nothing is never the best. COPY is left out where there is another.
        """

        def score(method: str) -> float:
            found = [self.get(method, metric, CHANGED) for metric in ("grade_proximity", "coverage")]
            return math.prod(figure.value if figure else 0.0 for figure in found)

        return max([method for method in methods if method != COPY] or methods, key=score)

    def solved_axis(self) -> float:
        """The end of the axis for the shares of solved starts: the next quarter above all of them."""
        highs = [
            figure.high
            for (_, metric, stratum), figure in self._figures.items()
            if metric == "solved" and stratum.startswith(STEP)
        ]
        return max(0.25, math.ceil(min(1.0, max(highs, default=1.0)) * 4) / 4)

    def kinds(self) -> list[str]:
        """The kinds of outcome that occur, from best to worst."""
        found = {
            metric.removeprefix(SHARE)
            for (_, metric, _), figure in self._figures.items()
            if metric.startswith(SHARE) and figure.value > 0
        }
        order = [SOLVED, SOME, NONE, *sorted(found - {SOLVED, SOME, NONE, UNREADABLE}), UNREADABLE]
        return [kind for kind in order if kind in found]

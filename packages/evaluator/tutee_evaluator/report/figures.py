"""Looks figures up in METRICS, and picks from them what the page shows."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from tutee_evaluator.metrics.bootstrap import MINUS
from tutee_evaluator.metrics.outcomes import SHARE
from tutee_evaluator.metrics.proper import SKILL_OVER
from tutee_evaluator.metrics.strata import ASSIGNMENT, OVERALL, START, STARTS, STEP
from tutee_evaluator.pairing import GAVE_UP, NONE, SOLVED, SOME, UNREADABLE
from tutee_evaluator.schemas import BASELINE_METHODS, COPY, MIX

REAL_PREFIX = "real_"  # before a metric's name: the same of the students, beside the method
PARTS_SHOWN = 12  # of a whole with more parts, the largest are shown


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
        self.starts = [name for name in STARTS if START + name in strata]
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

    @property
    def opponent(self) -> str:
        """The strongest baseline that there are figures of."""
        return next((name for name in (MIX, COPY) if self.get(name, "coverage")), MIX)

    @property
    def reference(self) -> str | None:
        """The method with which the others are compared, if any is."""
        named = (metric.partition(MINUS)[2] for _, metric, _ in self._figures)
        return next(filter(None, named), None)

    def skill(self, score: str) -> str:
        """The metric that is the skill of `score` over the strongest baseline."""
        return f"{score}{SKILL_OVER}{self.opponent}"

    def best(self, methods: Sequence[str]) -> str:
        """The method with the lowest energy score of the code, else with the highest grade proximity.

        The baselines are left out where there is another method.
        """

        def score(method: str) -> tuple[float, float]:
            energy, proximity = self.get(method, "energy"), self.get(method, "grade_proximity")
            return -energy.value if energy else -math.inf, proximity.value if proximity else -math.inf

        return max([method for method in methods if method not in BASELINE_METHODS] or methods, key=score)

    def solved_axis(self) -> float:
        """The end of the axis for the shares of solved starts: the next fifth above all of them.

        Of a fifth, half and quarters are whole per cents, which label the axis.
        """
        highs = [
            figure.high
            for (_, metric, stratum), figure in self._figures.items()
            if metric in ("solved", "real_solved") and stratum.startswith(STEP)
        ]
        return max(1, math.ceil(min(1.0, max(highs, default=1.0)) * 5)) / 5

    def kinds(self) -> list[str]:
        """The kinds of outcome that occur, from best to worst."""
        found = {
            metric.removeprefix(SHARE)
            for (_, metric, _), figure in self._figures.items()
            if metric.startswith(SHARE) and figure.value > 0
        }
        first, last = [SOLVED, SOME, NONE], [GAVE_UP, UNREADABLE]
        order = [*first, *sorted(found - {*first, *last}), *last]
        return [kind for kind in order if kind in found]

    def shown(self, columns: Sequence[tuple[str, str]], methods: Sequence[str]) -> list[tuple[str, str]]:
        """Those of `columns`, pairs of a metric and its heading, that one of `methods` has a figure of."""
        return [column for column in columns if any(self.get(method, column[0]) for method in methods)]

    def parts(self, name: str) -> list[str]:
        """The parts of the whole `name`: of metrics `name=PART`, beside `real_name=PART` of the students.

        Numbers and bins come in their order, before words from the largest share to the smallest. The parts
        with the largest shares, PARTS_SHOWN at most.
        """
        sizes = self._sizes(name)
        largest = sorted(sizes, key=lambda part: (-sizes[part], part))[:PARTS_SHOWN]
        number = {part: int(found[0]) for part in largest if (found := re.match(r"\d+", part))}
        return sorted(largest, key=lambda part: (part not in number, number.get(part, 0)))

    def more_parts(self, name: str) -> bool:
        """Whether the whole has more parts than are shown."""
        return len(self._sizes(name)) > PARTS_SHOWN

    def pair(self, method: str, name: str, part: str) -> tuple[Figure | None, Figure | None]:
        """The share of a part, of the method and of the students beside it."""
        metric = f"{name}={part}"
        return self.get(method, metric), self.get(method, REAL_PREFIX + metric)

    def has_parts(self, method: str, name: str) -> bool:
        """Whether there are shares of the method."""
        return any(self.get(method, f"{name}={part}") for part in self.parts(name))

    def axis(self, name: str) -> float:
        """The end of the axis for shares of the whole: the highest end of an interval."""
        highs = [
            found.high
            for (_, metric, stratum), found in self._figures.items()
            if stratum == OVERALL and _part(metric, name)
        ]
        return max(highs, default=1.0) or 1.0

    def _sizes(self, name: str) -> dict[str, float]:
        """The largest share of each part, of any method or of the students."""
        sizes: dict[str, float] = {}
        for (_, metric, stratum), found in self._figures.items():
            part = _part(metric, name)
            if part and stratum == OVERALL and found.value > 0:
                sizes[part] = max(found.value, sizes.get(part, 0.0))
        return sizes


def _part(metric: str, name: str) -> str | None:
    """The part that a metric is the share of, where it is one of the whole `name`."""
    whole, equals, part = metric.removeprefix(REAL_PREFIX).partition("=")
    return part if equals and whole == name else None

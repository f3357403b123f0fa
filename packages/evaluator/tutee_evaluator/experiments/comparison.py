"""Compares policies played on the same class: outcomes, paired differences, intervals, and what they need."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tutee_evaluator.experiments.outcomes import outcome_columns, sums_of
from tutee_evaluator.metrics.bootstrap import divide, interval, resample
from tutee_evaluator.metrics.strata import ASSIGNMENT, OVERALL

Array = NDArray[np.float64]

FEWEST = 10  # students; an interval over fewer says nothing
RESAMPLES = 2000
LEVEL = "level="  # followed by a third of the students
# Of a trial with two arms: 5% of false alarms, two-sided, and 80% of true differences found.
_Z = 1.959964 + 0.841621

# One row per policy (`other` null), or per difference of `policy` to `other`, outcome and stratum. `n` counts
# trajectories. `p` is two-sided, `p_holm` after Holm's correction for all pairs of policies: only for the
# primary outcome overall. `needed` are the real students for each arm of a trial that would find this
# difference of the primary outcome with a power of 80%, `needed_for_effect` those for `effect` of the file.
FIGURES = pl.Schema(
    {
        "policy": pl.String(),
        "other": pl.String(),
        "outcome": pl.String(),
        "stratum": pl.String(),
        "value": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "n": pl.Int64(),
        "p": pl.Float64(),
        "p_holm": pl.Float64(),
        "needed": pl.Int64(),
        "needed_for_effect": pl.Int64(),
    }
)


@dataclass(frozen=True)
class _Cells:
    """Sums of trajectories: `over` and `under` are [policy, student, assignment], `n` counts by policy."""

    over: Array
    under: Array
    n: Array

    def draws(self, students: Array, assignments: Array) -> Array:
        """The ratio of each policy under each pair of weights; [resample, policy]."""
        sums = [
            np.einsum("bs,psa,ba->bp", students, values, assignments, optimize=True)
            for values in (self.over, self.under)
        ]
        return divide(*sums)


def compare(
    table: pl.DataFrame,
    policies: Sequence[str],
    steps: int,
    primary: str,
    effect: float | None,
    seed: int,
) -> pl.DataFrame:
    """FIGURES of `outcomes.trajectories`, in the order of `policies`; each is compared with those before it.

    Intervals are of a bootstrap over students and, independently, over assignments (Owen 2007, "The
    pigeonhole bootstrap"); of one assignment, over students. Differences are paired: the same students,
    assignments and random numbers under both policies. With fewer than FEWEST students there is no interval.
    """
    table = outcome_columns(table, steps)
    outcomes = sums_of(table)
    rows: list[dict[str, object]] = []
    for stratum, part in _strata(table):
        names = ["solved", "steps", "area", "gave_up"] if stratum != OVERALL else list(outcomes)
        axes = part["student"].unique().sort().to_list(), part["assignment"].unique().sort().to_list()
        weights = _weights(len(axes[0]), len(axes[1]), seed)
        for name in names:
            cells = _cells(part, policies, axes, *outcomes[name])
            draws = cells.draws(*weights)
            certain = len(axes[0]) >= FEWEST
            rows += _rows(name, stratum, policies, draws, cells.n, certain)
    figures = pl.DataFrame(rows, schema={name: kind for name, kind in FIGURES.items() if name not in _ADDED})
    main = figures["outcome"].eq(primary) & figures["stratum"].eq(OVERALL) & figures["other"].is_not_null()
    spread = _spread(table, primary)
    adjusted = figures.with_columns(
        p=pl.when(main).then("p"),
        p_holm=pl.when(main).then(pl.Series(_holm(figures["p"].to_list(), main.to_list()))),
        needed=pl.when(main).then(pl.col("value").map_elements(lambda d: _needed(spread, d), pl.Int64)),
        needed_for_effect=pl.when(main).then(pl.lit(_needed(spread, effect or 0.0), pl.Int64)),
    )
    return adjusted.select(pl.col(name).cast(kind) for name, kind in FIGURES.items())


_ADDED = ("p_holm", "needed", "needed_for_effect")


def _strata(table: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    yield OVERALL, table
    for column, prefix in (("assignment", ASSIGNMENT), ("level", LEVEL)):
        for value in table[column].drop_nulls().unique().sort():
            yield f"{prefix}{value}", table.filter(pl.col(column) == value)


def _weights(students: int, assignments: int, seed: int) -> tuple[Array, Array]:
    drawn = resample(students, RESAMPLES, seed)
    if assignments == 1:
        return drawn, np.ones((1 + RESAMPLES, 1))
    return drawn, resample(assignments, RESAMPLES, seed + 1)


def _cells(
    table: pl.DataFrame, policies: Sequence[str], axes: tuple[list[str], list[str]], over: str, under: str
) -> _Cells:
    shape = (len(policies), *map(len, axes))
    places = [
        table[column].replace_strict(labels, range(len(labels)), return_dtype=pl.Int64).to_numpy()
        for column, labels in zip(("policy", "student", "assignment"), (policies, *axes), strict=True)
    ]
    flat = np.ravel_multi_index(places, shape)

    def sums(column: str) -> Array:
        summed = np.bincount(flat, table[column].to_numpy(), minlength=math.prod(shape))
        return summed.reshape(shape).astype(np.float64)

    counts = np.bincount(places[0], minlength=len(policies))
    return _Cells(sums(over), sums(under), counts.astype(np.float64))


def _rows(
    name: str, stratum: str, policies: Sequence[str], draws: Array, n: Array, certain: bool
) -> Iterator[dict[str, object]]:
    shared = {"outcome": name, "stratum": stratum}
    for at, policy in enumerate(policies):
        found = _estimate(draws[:, at], certain)
        yield {"policy": policy, "other": None, **shared, **found, "n": int(n[at])}
    for (at, one), (where, other) in combinations(enumerate(policies), 2):
        difference = draws[:, where] - draws[:, at]
        # The same trajectories differ by nothing, and not by how their sums were rounded.
        found = _estimate(np.where(np.abs(difference) < 1e-12, 0.0, difference), certain)
        yield {"policy": other, "other": one, **shared, **found, "n": int(n[where])}


def _estimate(draws: Array, certain: bool) -> dict[str, float | None]:
    value, drawn = draws[0], draws[1:][~np.isnan(draws[1:])]
    if np.isnan(value):
        return {"value": None, "low": None, "high": None, "p": None}
    if not certain or not drawn.size:
        return {"value": float(value), "low": None, "high": None, "p": None}
    low, high = interval(draws)
    # Never less than one resample of all: 0 would claim more than was drawn.
    tail = min(np.mean(drawn <= 0), np.mean(drawn >= 0))
    p = min(1.0, 2 * max(float(tail), 1 / (1 + drawn.size)))
    return {"value": float(value), "low": float(low), "high": float(high), "p": p}


def _holm(values: Sequence[float | None], chosen: Sequence[bool]) -> list[float | None]:
    """Holm's step-down correction of the chosen p values (Holm 1979)."""
    adjusted: list[float | None] = [None] * len(values)
    found = sorted((value, at) for at, value in enumerate(values) if chosen[at] and value is not None)
    least = 0.0
    for rank, (value, at) in enumerate(found):
        least = max(least, min(1.0, (len(found) - rank) * value))
        adjusted[at] = least
    return adjusted


def _spread(table: pl.DataFrame, primary: str) -> float:
    """The standard deviation of a student's mean outcome, as a trial would see it: one sample of each."""
    column = {"solved": "solved", "area": "area"}[primary]
    means = table.group_by("policy", "sample", "student").agg(pl.col(column).mean())
    spreads = means.group_by("policy").agg(pl.col(column).var())[column].drop_nulls()
    return float(np.sqrt(np.mean(spreads.to_numpy()))) if len(spreads) else float("nan")


def _needed(spread: float, difference: float) -> int | None:
    """Students for each of two arms, by the normal approximation; None: no number finds no difference."""
    if abs(difference) < 1e-9 or np.isnan(spread):
        return None
    return int(np.ceil(2 * (_Z * spread / difference) ** 2))

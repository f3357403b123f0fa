"""Sums over steps for each resample of the students, and intervals of what is computed from them.

Every metric is a function of sums over steps, so a bootstrap over students needs only the sums of each
student: one matrix product gives all resamples of a column. The same resamples serve every method, so
differences between methods (the skill over COPY) are paired.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tutee_evaluator.metrics.strata import strata

Array = NDArray[np.float64]

MINUS = "_minus_"  # followed by the method to which a method's difference it is


@dataclass(frozen=True)
class Estimate:
    """One metric: `draws[resample, method, stratum]` and the number of steps `n[method, stratum]`.

    Draw 0 is the value itself, of the students as they are.
    """

    metric: str
    methods: list[str]
    strata: list[str]
    draws: Array
    n: Array

    def minus(self, method: str) -> "Estimate":
        """The difference to `method`, in the same resamples of the students."""
        draws = self.draws - self.draws[:, [self.methods.index(method)], :]
        return replace(self, metric=f"{self.metric}{MINUS}{method}", draws=draws)

    def table(self) -> pl.DataFrame:
        """One row per method and stratum, with the value and its interval; undefined values are null."""
        low, high = interval(self.draws)
        methods, names = np.meshgrid(self.methods, self.strata, indexing="ij")
        return pl.DataFrame(
            {
                "method": methods.ravel().tolist(),
                "metric": self.metric,
                "stratum": names.ravel().tolist(),
                "value": self.draws[0].ravel(),
                "low": low.ravel(),
                "high": high.ravel(),
                "n": self.n.ravel().round().astype(np.int64),
            }
        ).with_columns(pl.col("value", "low", "high").fill_nan(None))


@dataclass(frozen=True)
class Sums:
    """Sums over steps, which are resampled one column at a time: of all at once there would be gigabytes.

    `rows` are the steps, `table` has their sums of each student, method, stratum and step, and `weights` are
    those of `resample`.
    """

    rows: pl.DataFrame
    table: pl.DataFrame
    weights: Array
    students: Sequence[str]
    methods: list[str]
    strata: list[str]

    @cached_property
    def steps(self) -> list[int]:
        return self.table["step"].unique().sort().to_list()

    def of(self, column: str, step: int | None = None) -> Array:
        """The sums of a column at one step, None: at all of them; [resample, method, stratum].

        Resample 0 has each student once.
        """
        values = self.table[column].to_numpy()
        at = slice(None) if step is None else self.table["step"].to_numpy() == step
        shape = (len(self.students), len(self.methods), len(self.strata))
        sums = np.bincount(self._cells[at], values[at], minlength=math.prod(shape))
        return (self.weights @ sums.reshape(shape[0], -1)).reshape(-1, *shape[1:])

    def ratio(self, over: str, under: str, step: int | None = None) -> Array:
        """over / under, at one step or of the sums over all; [resample, method, stratum]."""
        return divide(self.of(over, step), self.of(under, step))

    def ratios(self, over: str, under: str) -> Array:
        """over / under at each of `steps`; [resample, method, stratum, step]."""
        return np.stack([self.ratio(over, under, step) for step in self.steps], axis=-1)

    def estimate(self, metric: str, over: str, under: str) -> Estimate:
        """The metric over / under; `under` counts its steps."""
        return self.estimated(metric, self.ratio(over, under), under)

    def estimated(self, metric: str, draws: Array, under: str) -> Estimate:
        """The metric with these draws; `under` counts its steps."""
        return Estimate(metric, self.methods, self.strata, draws, self.of(under)[0])

    @cached_property
    def _cells(self) -> NDArray[np.int64]:
        """The place of each row of `table` in an array [student, method, stratum], flattened."""
        axes = {"student": self.students, "method": self.methods, "stratum": self.strata}
        places = [
            self.table[axis].replace_strict(labels, range(len(labels)), return_dtype=pl.Int64).to_numpy()
            for axis, labels in axes.items()
        ]
        return np.ravel_multi_index(places, [len(labels) for labels in axes.values()])


@dataclass(frozen=True)
class Family:
    """Metrics made of the same sums.

    `rows` gives the rows of STEPS, or of SCORES, that they are over; `columns` gives, for these, the columns
    to sum, each a number per row; `metrics` makes the metrics of these sums.
    """

    rows: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]
    columns: Callable[[pl.DataFrame], Mapping[str, pl.Expr]]
    metrics: Callable[[Sums], Iterator[Estimate]]


def resample(students: int, resamples: int, seed: int) -> Array:
    """How often each student is in each resample, [1 + resamples, students]; the first has each once."""
    drawn = np.random.default_rng(seed).multinomial(students, np.full(students, 1 / students), size=resamples)
    return np.vstack([np.ones(students), drawn])


def sum_steps(
    rows: pl.DataFrame, columns: Mapping[str, pl.Expr], students: Sequence[str], weights: Array
) -> Sums:
    """The sums of `columns` over rows of steps; `weights` are those of `resample` for `students`."""
    table = pl.concat(
        rows.filter(keep)
        .group_by("student", "method", "step", stratum.cast(pl.String).alias("stratum"), maintain_order=True)
        .agg(expression.cast(pl.Float64).sum().alias(name) for name, expression in columns.items())
        for keep, stratum in strata()
    )
    methods, names = (table[axis].unique().sort().to_list() for axis in ("method", "stratum"))
    return Sums(rows, table, weights, students, methods, names)


def divide(over: Array, under: Array) -> Array:
    """over / under; NaN where `under` is zero (or no more than rounding)."""
    empty = np.abs(under) < 1e-12
    return np.where(empty, np.nan, over / np.where(empty, 1, under))


def mean(values: Array) -> Array:
    """The mean over the last axis of what is defined; NaN where nothing is."""
    known = ~np.isnan(values)
    return divide(np.where(known, values, 0).sum(-1), known.sum(-1).astype(float))


def interval(draws: Array) -> tuple[Array, Array]:
    """The 2.5 and 97.5 percentiles of the resamples in which the value is defined, widened to hold it."""
    value, ordered = draws[0], np.sort(draws[1:], axis=0)  # NaN comes last
    last = (~np.isnan(ordered)).sum(axis=0) - 1

    def percentile(share: float) -> Array:
        at = np.maximum(last, 0) * share
        below = np.take_along_axis(ordered, np.floor(at).astype(int)[None], axis=0)[0]
        above = np.take_along_axis(ordered, np.ceil(at).astype(int)[None], axis=0)[0]
        return below + (above - below) * (at - np.floor(at))

    # Where all resamples agree, rounding can put the value a hair outside of them.
    return np.minimum(percentile(0.025), value), np.maximum(percentile(0.975), value)


def cluster_mean(values: Array, clusters: NDArray[np.int64], weights: Array) -> tuple[float, float, float]:
    """The mean of values, each of the cluster of this number (a student), and its interval.

    `weights` are those of `resample` for the clusters.
    """
    sums = [np.bincount(clusters, of, weights.shape[1]) for of in (values, np.ones(len(values)))]
    draws = divide(*(weights @ one for one in sums))
    low, high = interval(draws)
    return float(draws[0]), float(low), float(high)

"""Sums over steps for each resample of the students, and intervals of what is computed from them.

Every metric is a function of sums over steps, so a bootstrap over students needs only the sums of each
student: one matrix product gives all resamples. The same resamples serve every method, so differences
between methods (the skill over COPY) are paired.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tutee_evaluator.metrics.strata import strata

Array = NDArray[np.float64]


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

    def table(self) -> pl.DataFrame:
        """One row per method and stratum, with the value and its interval; undefined values are null."""
        low, high = _interval(self.draws)
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
    """Sums over steps: `values[resample, method, stratum, column]`; resample 0 has each student once."""

    values: Array
    methods: list[str]
    strata: list[str]
    columns: list[str]

    def of(self, column: str) -> Array:
        return self.values[..., self.columns.index(column)]

    def ratio(self, over: str, under: str) -> Array:
        return divide(self.of(over), self.of(under))

    def estimate(self, metric: str, over: str, under: str) -> Estimate:
        """The metric over / under; `under` counts its steps."""
        return Estimate(metric, self.methods, self.strata, self.ratio(over, under), self.of(under)[0])


@dataclass(frozen=True)
class Family:
    """Metrics made of the same sums.

    `columns` gives, for a table of steps, the columns to sum, each a number per step; `metrics` makes the
    metrics of these sums.
    """

    columns: Callable[[pl.DataFrame], Mapping[str, pl.Expr]]
    metrics: Callable[[Sums], Iterator[Estimate]]


def resample(students: int, resamples: int, seed: int) -> Array:
    """How often each student is in each resample, [1 + resamples, students]; the first has each once."""
    drawn = np.random.default_rng(seed).multinomial(students, np.full(students, 1 / students), size=resamples)
    return np.vstack([np.ones(students), drawn])


def sum_steps(steps: pl.DataFrame, columns: Mapping[str, pl.Expr], weights: Array) -> Sums:
    """The sums of `columns` over STEPS; `weights` are those of `resample`."""
    summed = [
        steps.filter(keep)
        .group_by("student", "method", stratum.cast(pl.String).alias("stratum"))
        .agg(expression.cast(pl.Float64).sum().alias(name) for name, expression in columns.items())
        for keep, stratum in strata()
    ]
    table = pl.concat(summed)
    students = steps["student"].unique().sort().to_list()
    methods = steps["method"].unique().sort().to_list()
    names = table["stratum"].unique().sort().to_list()
    values = np.zeros((len(students), len(methods), len(names), len(columns)))
    student, method, stratum = (
        table[axis].replace_strict(labels, range(len(labels)), return_dtype=pl.Int64).to_numpy()
        for axis, labels in (("student", students), ("method", methods), ("stratum", names))
    )
    values[student, method, stratum] = table.select(*columns).to_numpy()
    return Sums(np.tensordot(weights, values, axes=1), methods, names, list(columns))


def divide(over: Array, under: Array) -> Array:
    """over / under; NaN where `under` is zero (or no more than rounding)."""
    empty = np.abs(under) < 1e-12
    return np.where(empty, np.nan, over / np.where(empty, 1, under))


def _interval(draws: Array) -> tuple[Array, Array]:
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

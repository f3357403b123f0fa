"""Distributions over the same values, of the artificial and of the real steps, and their distance."""

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl

from tutee_evaluator.metrics.bootstrap import Estimate, Sums


def counts(name: str, values: Iterable[str]) -> dict[str, pl.Expr]:
    """The columns to sum for `compare`: how many steps have each value, and how many have any.

    The artificial steps' values are in the column `name`, the real ones' in `real_name`.
    """
    columns = (name, f"real_{name}")
    return {
        **{column: pl.col(column).is_not_null() for column in columns},
        **{f"{column}={value}": pl.col(column) == value for value in values for column in columns},
    }


def compare(sums: Sums, name: str, values: Iterable[str], ordered: bool = False) -> Iterator[Estimate]:
    """The share of each value, `name=VALUE` and `real_name=VALUE`, and the distance of the two distributions.

    It is the total variation distance, from 0 to 1; where the values are `ordered`, the earth mover's: by how
    many values a step must be moved on average. `n` counts the artificial steps that have a value, or the
    real ones.
    """
    apart = distance = np.zeros_like(sums.of(name))
    for value in values:
        mine, real = f"{name}={value}", f"real_{name}={value}"
        share, real_share = sums.ratio(mine, name), sums.ratio(real, f"real_{name}")
        yield sums.estimated(mine, share, name)
        yield sums.estimated(real, real_share, f"real_{name}")
        apart = share - real_share + (apart if ordered else 0)
        distance = distance + np.abs(apart)
    yield sums.estimated(f"{name}_distance", distance if ordered else distance / 2, name)

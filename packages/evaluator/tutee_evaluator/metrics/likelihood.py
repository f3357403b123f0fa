"""The log score: how unlikely a method finds what the student did, in nats a submission.

Each is of one real submission after the real history, over all tokens of the student's turn and its end. Sums
over tokens, not their mean: so formats and models with different tokens can be compared.
"""

from collections.abc import Iterator, Mapping

import polars as pl

from tutee_evaluator.metrics.bootstrap import Estimate, Sums


def rows(steps: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    return steps.filter(pl.col("nats").is_not_null())


def columns(steps: pl.DataFrame) -> Mapping[str, pl.Expr]:
    return {"nats": pl.col("nats"), "submissions": pl.col("nats").is_not_null()}


def metrics(sums: Sums) -> Iterator[Estimate]:
    yield sums.estimate("nats", "nats", "submissions")

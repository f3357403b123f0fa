"""How much the distributions over error signatures have in common, assignment by assignment.

A program's signature is the set of the tests that it fails; programs that fail none have none. An assignment
weighs as much as the real students' failures at it. There are thousands of signatures in a course and few in
an assignment, so the sums of each assignment are made and resampled by themselves.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tutee_evaluator.metrics.bootstrap import Array, Estimate, Sums, divide
from tutee_evaluator.metrics.strata import strata

_BLOCK = ["method", "stratum", "assignment"]


def metrics(sums: Sums) -> Iterator[Estimate]:
    """`error_overlap`, and `error_chi2`: from 0 for the same distributions to 1 for disjoint ones.

    With shares p and q of the signatures, the overlap is sum min(p, q), the other 1 - 2 sum p q / (p + q),
    which is (1/2) sum (p - q)² / (p + q): the chi-squared statistic of homogeneity of n programs, half of
    them artificial, over n. So it does not grow with the number of programs, as the plain statistic does that
    KASER reports (arXiv 2601.06633, where a language model names the errors); times n it is that, and as
    there lower is better. A method without a failure at an assignment has overlap 0 and chi2 1 there.
    """
    shape = (len(sums.weights), len(sums.methods), len(sums.strata))
    overlap, similar, failures = np.zeros((3, *shape))
    for method, stratum, students, counted in _blocks(sums):
        at = (slice(None), sums.methods.index(method), sums.strata.index(stratum))
        weights = sums.weights[:, students]
        n, real_n = (weights @ counted[:, who].sum(-1, keepdims=True) for who in (0, 1))
        # All that the two have in common is at signatures that both have.
        shared = (counted.sum(0) > 0).all(0)
        mine, real = (weights @ counted[:, who, shared] for who in (0, 1))
        scaled, real_scaled = mine * real_n, real * n  # the shares times n * real_n
        overlap[at] += _sum_quotients(np.minimum(scaled, real_scaled), np.maximum(n, 1))
        similar[at] += 2 * _sum_quotients(mine * real * real_n, scaled + real_scaled)
        failures[at] += real_n[:, 0]
    for name, total in (("error_overlap", overlap), ("error_chi2", failures - similar)):
        yield Estimate(name, sums.methods, sums.strata, divide(total, failures), failures[0])


def _sum_quotients(over: Array, under: Array) -> Array:
    """The sums over the last axis of over / under, which is 0 where `under` is."""
    return np.divide(over, under, out=np.zeros_like(over), where=under > 0).sum(-1)


def _blocks(sums: Sums) -> Iterator[tuple[str, str, NDArray[np.int64], Array]]:
    """Method, stratum, places of the students, and how often each of them has each signature.

    One block for each assignment of a method and stratum; the counts are [student, artificial or real,
    signature], of the students and signatures that are in it.
    """
    failures = _failures(sums.rows)
    table = (
        pl.concat(
            failures.filter(keep)
            .group_by(
                "method",
                stratum.cast(pl.String).alias("stratum"),
                "assignment",
                "student",
                "real",
                "signature",
            )
            .len()
            for keep, stratum in strata()
        )
        .with_columns(
            signature=pl.col("signature").rank("dense").over(_BLOCK) - 1,
            place=pl.col("student").rank("dense").over(_BLOCK) - 1,
            student=pl.col("student").replace_strict(
                sums.students, range(len(sums.students)), return_dtype=pl.Int64
            ),
        )
        .sort(*_BLOCK, "place")
    )
    columns = [table[name].to_numpy() for name in ("student", "place", "real", "signature", "len")]
    edges = [
        *table.select(pl.struct(_BLOCK).rle_id().is_first_distinct().arg_true()).to_series(),
        table.height,
    ]
    for first, end in pairwise(edges):
        student, place, real, signature, count = (column[first:end] for column in columns)
        counted = np.zeros((place.max() + 1, 2, signature.max() + 1))
        counted[place, real, signature] = count
        method, stratum = table.row(first)[:2]
        yield method, stratum, student[np.unique(place, return_index=True)[1]], counted


def _failures(steps: pl.DataFrame) -> pl.DataFrame:
    """The artificial (`real` 0) and the real (1) failures at the steps that are compared, with signatures."""
    still = steps.filter("at_risk")
    return pl.concat(
        still.filter(pl.col(column).list.len() > 0).with_columns(
            signature=pl.col(column).list.unique().list.sort().list.join("\x1f"), real=pl.lit(real)
        )
        for real, column in enumerate(("failed", "real_failed"))
    )

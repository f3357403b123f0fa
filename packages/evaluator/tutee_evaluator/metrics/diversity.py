"""How varied the programs are: the samples of a step, and the students of a class.

All over the steps at which the method has a program. Two programs are the same one if their tokens are,
whatever their comments and blanks.

- `self_bleu`: the mean BLEU-4 of each sample against all others of its step (Zhu et al., arXiv 1802.01886,
  as in arXiv 2510.05056); 1: all alike.
- `distinct`: distinct programs / programs among the samples of a step. More samples repeat more, so methods
  are comparable where they have as many.
- `distinct_students`, `real_distinct_students`: of the programs of other students on the same assignment, at
  step 1, the share that differ from a student's; 0: the whole class writes the same. (The number of distinct
  programs over that of programs would fall as the class grows, and as resampled students repeat their own.)
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import exp, log

import numpy as np
import polars as pl

from tutee_evaluator.distance import tokens
from tutee_evaluator.metrics import outcomes
from tutee_evaluator.metrics.bootstrap import Estimate, Sums
from tutee_evaluator.metrics.strata import ASSIGNMENT, COVERED, OVERALL

# As in `similarity`, which is not imported here: every command would wait for the package codebleu.
_ORDERS = 4
_NO_MATCH = 0.1  # what the package `codebleu` takes for no match of an order, so that it has a logarithm

_BETWEEN = "\x1f"  # tokens
_CLASS = ["method", "assignment"]
# All that the samples of a step have in common.
_STEP = ["method", "dialog_id", "student", "assignment", "start", "step", "changed", "real_solved", "real"]

Grams = tuple[frozenset[tuple[tuple[str, ...], int]], ...]


def rows(steps: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """One row per covered step: `samples`, the list of the programs drawn, `real`, and what is measured."""
    covered = outcomes.rows(steps, scores).filter(COVERED)
    programs = pl.concat([covered["code"], covered["real_code"]]).drop_nulls().unique(maintain_order=True)
    read = [_BETWEEN.join(tokens(program)) for program in programs]
    found = (
        covered.with_columns(
            sample=pl.col("code").replace_strict(programs, read, return_dtype=pl.String),
            real=pl.col("real_code").replace_strict(programs, read, return_dtype=pl.String),
        )
        .group_by(_STEP, maintain_order=True)
        .agg(samples=pl.col("sample"))
        .with_row_index("row")
    )
    several = pl.col("samples").list.len() > 1
    bleu = [self_bleu(samples) for samples in found["samples"].to_list()]
    found = found.with_columns(
        distinct=pl.when(several).then(pl.col("samples").list.n_unique() / pl.col("samples").list.len()),
        self_bleu=pl.Series(bleu, dtype=pl.Float64),
    )
    first = found.filter(step=1)
    for name, written in (
        ("distinct_students", first.explode("samples").rename({"samples": "program"})),
        ("real_distinct_students", first.rename({"real": "program"}).drop_nulls("program")),
    ):
        found = found.join(_differing(written, name), on="row", how="left", maintain_order="left")
    return found


def columns(steps: pl.DataFrame) -> Mapping[str, pl.Expr]:
    names = ("self_bleu", "distinct", "distinct_students", "real_distinct_students")
    return {
        **{name: pl.col(name) for name in names},
        **{f"{name} known": pl.col(name).is_not_null() for name in names},
    }


def metrics(sums: Sums) -> Iterator[Estimate]:
    for name in ("self_bleu", "distinct"):
        yield sums.estimate(name, name, f"{name} known")
    # The others that a program is compared with are all of the assignment's: no part of them is a stratum.
    classes = [place for place, name in enumerate(sums.strata) if name.startswith((OVERALL, ASSIGNMENT))]
    names = [sums.strata[place] for place in classes]
    for name in ("distinct_students", "real_distinct_students"):
        whole = sums.estimate(name, name, f"{name} known")
        draws = np.clip(whole.draws[..., classes], 0, 1)
        yield replace(whole, strata=names, draws=draws, n=whole.n[:, classes])


def _differing(written: pl.DataFrame, name: str) -> pl.DataFrame:
    """For each `row`, of one or more `program`s, a number whose mean is the share of others that differ.

    It is not the row's own share u but 2 u - mean of u in its class, which has the same mean over a class.
    But u is a matter of two students, and a resample draws both: the mean of u would vary half as much as the
    share does, and that of this number varies as much (Hájek's projection of a U-statistic).
    """
    own = [*_CLASS, "student"]
    others = pl.len().over(_CLASS) - pl.len().over(own)
    alike = pl.len().over(*_CLASS, "program") - pl.len().over(*own, "program")
    share = 1 - alike.cast(pl.Int64) / pl.when(others > 0).then(others)
    return (
        written.with_columns(share=share)
        .group_by("row", *_CLASS)
        .agg(pl.col("share").mean())
        .select("row", (2 * pl.col("share") - pl.col("share").mean().over(_CLASS)).alias(name))
    )


def self_bleu(programs: Sequence[str]) -> float | None:
    """The mean BLEU-4 of each of a step's programs against the others; None of fewer than two.

    As `sentence_bleu` of the package `codebleu` computes it, with n-grams no longer than the program; two of
    the same have 1. A program is its tokens, joined.
    """
    if len(programs) < 2:
        return None
    times = Counter(programs)
    total = 0.0
    for program, count in times.items():
        others = [_ngrams(other) for other in times if other != program]
        total += count if count > 1 else _bleu(_ngrams(program), others)
    return total / len(programs)


def _bleu(candidate: Grams, references: Sequence[Grams]) -> float:
    length = len(candidate[0])
    orders = min(length, _ORDERS)
    mean = 0.0
    for order in range(orders):
        left = candidate[order].difference(*(reference[order] for reference in references))
        match = len(candidate[order]) - len(left)
        if order == 0 and not match:
            return 0.0
        mean += log((match or _NO_MATCH) / len(candidate[order])) / orders
    closest = min((len(reference[0]) for reference in references), key=lambda n: (abs(n - length), n))
    return exp(min(0, 1 - closest / length) + mean) if length else 0.0


@lru_cache(200)  # some megabytes; the programs of a trajectory follow each other
def _ngrams(program: str) -> Grams:
    """The n-grams of 1 to 4 tokens: the first, second, ... occurrence of each, so that what is clipped at the
    most occurrences in a reference is what is in any of them."""
    words = program.split(_BETWEEN) if program else []
    found = []
    for order in range(1, _ORDERS + 1):
        seen: Counter[tuple[str, ...]] = Counter()
        grams = []
        for gram in zip(*(words[start:] for start in range(order)), strict=False):
            seen[gram] += 1
            grams.append((gram, seen[gram]))
        found.append(frozenset(grams))
    return tuple(found)

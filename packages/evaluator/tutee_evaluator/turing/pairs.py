"""Draws the pairs of a blinded test: two continuations of one student's work, of which one is real."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import polars as pl

from tutee_evaluator.schemas import GREEDY
from tutee_evaluator.turing.changes import Line, marked

STEPS_SHOWN = 3


@dataclass(frozen=True)
class Shown:
    """A submission as it is shown: its changes to the one before, its grade and the feedback."""

    lines: list[Line]
    grade: float
    feedback: str


@dataclass(frozen=True)
class Pair:
    """Two continuations after the program `before`, with as many submissions; the one at `real` is real."""

    assignment: str
    before: str
    sides: tuple[list[Shown], list[Shown]]
    real: int


def draw_pairs(steps: pl.DataFrame, method: str, count: int, seed: int) -> list[Pair]:
    """Up to `count` pairs of the real student's work and a sampled rollout of `method`, from STEPS.

    Of each start one sample, with as many submissions on both sides as both have, STEPS_SHOWN at the most.
    Starts of different students come first. Pairs that are alike are kept: who cannot tell them has to guess.
    """
    drawn = steps.filter((pl.col("method") == method) & (pl.col("sample") == GREEDY + 1)).sort("step")
    whole = pl.col("code").is_not_null().cum_min().over("dialog_id", "start", order_by="step")
    shown = drawn.filter(whole, pl.col("step") <= STEPS_SHOWN)
    starts = shown.partition_by("dialog_id", "start", maintain_order=True)
    starts.sort(key=lambda rows: (rows["dialog_id"][0], rows["start"][0]))
    random = Random(seed)
    random.shuffle(starts)
    seen: dict[str, int] = {}
    turns = []
    for rows in starts:
        student = rows["student"][0]
        turns.append(seen.setdefault(student, 0))
        seen[student] += 1
    order = sorted(range(len(starts)), key=lambda at: turns[at])
    return [_pair(starts[at], random.randrange(2)) for at in order[:count]]


def _pair(rows: pl.DataFrame, real: int) -> Pair:
    theirs, mine = list(_submissions(rows, "real_")), list(_submissions(rows, ""))
    sides = (theirs, mine) if real == 0 else (mine, theirs)
    return Pair(rows["assignment"][0], rows["before"][0], sides, real)


def _submissions(rows: pl.DataFrame, prefix: str) -> Iterator[Shown]:
    previous = rows["before"][0]
    for row in rows.iter_rows(named=True):
        code = row[f"{prefix}code"]
        yield Shown(marked(previous, code), row[f"{prefix}grade"], row[f"{prefix}feedback"] or "")
        previous = code

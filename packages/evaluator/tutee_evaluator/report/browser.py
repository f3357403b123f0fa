"""Real and artificial trajectories for `browser.js`, in a form that is small.

Programs, feedback and submissions repeat between methods, samples and steps, so each is kept once and
referred to by its number, and the whole is compressed. In base64 no text can leave its element.
"""

import base64
import json
import zlib
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tutee_evaluator.pairing import GAVE_UP, SOLVED, UNREADABLE

STARTS = 500  # at most so many starts are on the page
CHARACTERS = 4_000_000  # and at most so many characters of them: the page stays below 5 MB
NOT_SOLVED = "not solved"

_START = ["dialog_id", "start"]


@dataclass(frozen=True)
class Trajectories:
    """The `data` for the script, of `shown` starts of `all`."""

    data: str
    shown: int
    all: int


def trajectories(steps: pl.DataFrame, methods: Sequence[str], seed: int) -> Trajectories:
    """All rollouts of `methods` in STEPS from as many starts, drawn by `seed`, as the page has room for."""
    starts = steps.select(_START).unique().sort(_START)
    drawn = starts.sample(fraction=1, shuffle=True, seed=seed)
    shown = min(starts.height, STARTS)
    while len(data := _packed(steps.join(drawn.head(shown), on=_START, how="semi"), methods)) > CHARACTERS:
        shown //= 2
    return Trajectories(data, shown, starts.height)


def _packed(steps: pl.DataFrame, methods: Sequence[str]) -> str:
    text = json.dumps(content(steps, methods), ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def content(steps: pl.DataFrame, methods: Sequence[str]) -> dict[str, Any]:
    """The trajectories of each start.

    `texts` holds programs and feedback, `submissions` (kind, grade, program, feedback) with the numbers of
    two texts. A start has the text `before`, the submissions `real` of the student, and per rollout its
    method, its sample, how it ends, and its submissions. Numbers count from 0, in the lists of these names.
    """
    texts, kinds, submissions = _numbered(), _numbered(), _numbered()

    def numbers(rows: pl.DataFrame, prefix: str) -> list[int]:
        columns = rows.select(prefix + name for name in ("kind", "grade", "code", "feedback"))
        return [
            submissions[
                kinds[kind],
                None if grade is None else round(grade, 2),
                None if code is None else texts[code],
                texts[feedback or ""],
            ]
            for kind, grade, code, feedback in columns.iter_rows()
            if kind is not None
        ]

    starts = []
    ordered = steps.filter(pl.col("method").is_in(methods)).sort("assignment", *_START, "step")
    for rows in ordered.partition_by(_START, maintain_order=True):
        rollouts = rows.sort(
            pl.col("method").cast(pl.Enum(methods)), "sample", "step", maintain_order=True
        ).partition_by("method", "sample", maintain_order=True)
        first = rollouts[0]
        starts.append(
            {
                "assignment": first["assignment"][0],
                "start": first["start"][0],
                "before": texts[first["before"][0]],
                "real": numbers(first, "real_"),
                "ends": SOLVED if first["real_solves"].any() else NOT_SOLVED,
                "rollouts": [
                    [methods.index(one["method"][0]), one["sample"][0], _end(one), numbers(one, "")]
                    for one in rollouts
                ],
            }
        )
    return {
        "methods": [method.upper() for method in methods],
        "kinds": list(kinds),
        "texts": list(texts),
        "submissions": list(submissions),
        "starts": starts,
    }


def _end(rollout: pl.DataFrame) -> str:
    """How a rollout ends: what it ends with, or that it has not solved the task."""
    last = rollout["kind"].drop_nulls()[-1]
    return last if last in (SOLVED, GAVE_UP, UNREADABLE) else NOT_SOLVED


def _numbered() -> defaultdict[Hashable, int]:
    """Numbers things from 0 in the order in which they are first asked for."""
    numbers: defaultdict[Hashable, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    return numbers

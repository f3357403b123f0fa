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
from itertools import groupby
from operator import itemgetter
from typing import Any

import polars as pl

from tutee_evaluator.pairing import GAVE_UP, SOLVED, UNREADABLE

STARTS = 500  # at most so many starts are on the page
CHARACTERS = 4_000_000  # and at most so many characters of them: the page stays below 5 MB
NOT_SOLVED = "not solved"

_START = ["dialog_id", "start"]
_SUBMISSION = ("kind", "grade", "code", "feedback")


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

    def numbers(rollout: dict[str, Any], prefix: str) -> list[int]:
        columns = (rollout[prefix + name] for name in _SUBMISSION)
        return [
            submissions[
                kinds[kind],
                None if grade is None else round(grade, 2),
                None if code is None else texts[code],
                texts[feedback or ""],
            ]
            for kind, grade, code, feedback in zip(*columns, strict=True)
            if kind is not None
        ]

    starts = []
    for _, group in groupby(_rollouts(steps, methods).iter_rows(named=True), itemgetter(*_START)):
        rollouts = list(group)
        first = rollouts[0]
        starts.append(
            {
                "assignment": first["assignment"],
                "start": first["start"],
                "before": texts[first["before"]],
                "real": numbers(first, "real_"),
                "ends": SOLVED if SOLVED in first["real_kind"] else NOT_SOLVED,
                "rollouts": [
                    [rollout["number"], rollout["sample"], _end(rollout["kind"]), numbers(rollout, "")]
                    for rollout in rollouts
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


def _rollouts(steps: pl.DataFrame, methods: Sequence[str]) -> pl.DataFrame:
    """One row per rollout, start by start, with lists of the submissions of both sides."""
    return (
        steps.filter(pl.col("method").is_in(methods))
        .with_columns(number=pl.col("method").replace_strict(methods, range(len(methods))))
        .sort("assignment", *_START, "number", "sample", "step")
        .group_by("assignment", *_START, "before", "number", "sample", maintain_order=True)
        .agg(prefix + name for prefix in ("", "real_") for name in _SUBMISSION)
    )


def _end(kinds: Sequence[str | None]) -> str:
    """How a rollout ends: what its last submission is, or that it has not solved the task."""
    last = [kind for kind in kinds if kind is not None][-1]
    return last if last in (SOLVED, GAVE_UP, UNREADABLE) else NOT_SOLVED


def _numbered() -> defaultdict[Hashable, int]:
    """Numbers things from 0 in the order in which they are first asked for."""
    numbers: defaultdict[Hashable, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    return numbers

"""How students get from one submission to the next, beside the real ones: grades, edits, attempts.

All over the drawn samples, at the steps at which neither the method nor the student had come to an end
before. The submission before a step is that of the same rollout, or of the same student; at step 1 it is for
both the real one before the start.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from tutee_evaluator.metrics.bootstrap import Estimate, Sums
from tutee_evaluator.metrics.distributions import compare, counts
from tutee_evaluator.metrics.outcomes import curve
from tutee_evaluator.metrics.outcomes import rows as drawn
from tutee_evaluator.metrics.strata import has_whole_rollouts
from tutee_evaluator.programs import Edit, edits
from tutee_evaluator.schemas import Outcome

TRANSITIONS = ("solved", "better", "same", "worse", str(Outcome.GAVE_UP), str(Outcome.UNREADABLE))
EDITS = tuple(f"edit_{unit}" for unit in Edit._fields)
# Sizes of edits, in bins that double, and the largest size in each but the last.
BINS = ("0", "1", "2", "3-4", "5-8", "9-16", "17+")
_LARGEST = (0, 1, 2, 4, 8, 16)
_REPEATS = ("resubmission", "backtracking")

_ROLLOUT = ["method", "student", "assignment", "dialog_id", "start", "sample"]


def rows(steps: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """The steps with a column for each of TRANSITIONS, EDITS (as BINS) and repeats, artificial and `real_`.

    A repeat is a program that is the previous one (resubmission), or another one of this trajectory since the
    start or just before it (backtracking; null at step 1, before which only one is known).
    """
    still = drawn(steps, scores).filter("at_risk").with_columns(map(_tidy, ("before", "code", "real_code")))
    return _with_changes(_with_changes(still, ""), "real_")


def columns(steps: pl.DataFrame) -> Mapping[str, pl.Expr]:
    repeats = [f"{whose}{name}" for name in _REPEATS for whose in ("", "real_")]
    found = {name: pl.col(name) for name in ("at_risk", "solves", "real_solves", *repeats)}
    found |= {f"can be {name}": pl.col(name).is_not_null() for name in repeats}
    for name in EDITS:
        found |= counts(name, BINS)
    return found | counts("transition", TRANSITIONS)


def metrics(sums: Sums) -> Iterator[Estimate]:
    for name in _REPEATS:
        for column in (name, f"real_{name}"):
            yield sums.estimate(column, column, f"can be {column}")
    yield from compare(sums, "transition", TRANSITIONS)
    for name in EDITS:
        yield from compare(sums, name, BINS, ordered=True)
    yield from _attempts(sums)


def bin_of(size: int) -> str:
    """The one of BINS that an edit of this size is in."""
    return BINS[bisect_left(_LARGEST, size)]


def _tidy(column: str) -> pl.Expr:
    """Without blanks at the ends of lines and of the program, which not every format of a turn keeps."""
    return pl.col(column).str.replace_all(r"[^\S\n]+(\n|$)", "${1}").str.strip_chars_end("\n")


def _with_changes(steps: pl.DataFrame, whose: str) -> pl.DataFrame:
    code, grade, first = pl.col(f"{whose}code"), pl.col(f"{whose}grade"), pl.col("step") == 1
    # A rollout has one row per step, so the least value is the value.
    previous = steps.group_by(*_ROLLOUT, pl.col("step") + 1).agg(
        previous=code.min(), previous_grade=grade.min()
    )
    is_old = (code == pl.col("before")) | (pl.col("step") > pl.col("step").min().over(*_ROLLOUT, code))
    resubmission, backtracking = (f"{whose}{name}" for name in _REPEATS)
    steps = (
        steps.join(previous, on=[*_ROLLOUT, "step"], how="left", maintain_order="left")
        .with_columns(
            previous=pl.when(first).then("before").otherwise("previous"),
            previous_grade=pl.when(first).then("before_grade").otherwise("previous_grade"),
        )
        .with_columns(
            _transition(whose).alias(f"{whose}transition"),
            (code == pl.col("previous")).alias(resubmission),
        )
        .with_columns(pl.when(~first).then(is_old & ~pl.col(resubmission)).alias(backtracking))
    )
    sizes = _edits(steps.select("previous", code.alias("code")).drop_nulls().unique(maintain_order=True))
    return steps.join(
        sizes.rename({name: f"{whose}{name}" for name in EDITS}),
        left_on=["previous", f"{whose}code"],
        right_on=["previous", "code"],
        how="left",
        maintain_order="left",
    ).drop("previous", "previous_grade")


def _transition(whose: str) -> pl.Expr:
    grade, previous = pl.col(f"{whose}grade"), pl.col("previous_grade")
    kind = pl.col(f"{whose}kind")
    return (
        pl.when(kind.is_in([Outcome.GAVE_UP, Outcome.UNREADABLE]))
        .then(kind)
        .when(f"{whose}solves")
        .then(pl.lit("solved"))
        .when(grade > previous)
        .then(pl.lit("better"))
        .when(grade < previous)
        .then(pl.lit("worse"))
        .when(grade == previous)
        .then(pl.lit("same"))
    )


def _edits(pairs: pl.DataFrame) -> pl.DataFrame:
    """The bin of each size of the edit of each pair of programs, `previous` and `code`."""
    bins = [[None if size is None else bin_of(size) for size in edit] for edit in edits(pairs.rows())]
    return pairs.hstack(pl.DataFrame(bins, dict.fromkeys(EDITS, pl.String), orient="row"))


def _attempts(sums: Sums) -> Iterator[Estimate]:
    """The share of starts that are solved at exactly each step, and the total variation distance.

    They are the steps of the curves of Kaplan and Meier, see `outcomes`. In the distance, what is not solved
    by the last step counts as one more value.
    """
    whole = [place for place, name in enumerate(sums.strata) if has_whole_rollouts(name)]
    names = [sums.strata[place] for place in whole]
    curves = [curve(sums, solves)[..., whole, :] for solves in ("solves", "real_solves")]
    mine, real = (np.diff(solved, axis=-1, prepend=0) for solved in curves)
    for place, step in enumerate(sums.steps):
        n = sums.of("at_risk", step)[0][:, whole]
        yield Estimate(f"attempts_to_solve={step}", sums.methods, names, mine[..., place], n)
        yield Estimate(f"real_attempts_to_solve={step}", sums.methods, names, real[..., place], n)
    unsolved = np.abs(curves[0] - curves[1])[..., -1]
    distance = (np.abs(mine - real).sum(-1) + unsolved) / 2
    yield Estimate("attempts_distance", sums.methods, names, distance, sums.of("at_risk")[0][:, whole])

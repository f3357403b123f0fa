"""How submissions end, beside those of the real students: grades, solved starts, shares of outcomes.

And how many turns could be read, of all that a method wrote. All over the samples that were drawn, which show
what a method does as often as it does it; of a method without such samples, over the likeliest turns.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from tutee_evaluator.metrics.bootstrap import Array, Estimate, Sums
from tutee_evaluator.metrics.strata import COVERED, OVERALL, STEP, has_whole_rollouts
from tutee_evaluator.schemas import GREEDY, Outcome

REAL = "real"  # the method of the rows that describe the real students
SHARE = "share="  # followed by the kind of outcome


def rows(steps: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    drawn = pl.col("sample") > GREEDY
    return steps.filter(drawn == drawn.any().over("method"))


def columns(steps: pl.DataFrame) -> Mapping[str, pl.Expr]:
    kinds = sorted({*steps["kind"].drop_nulls(), *steps["real_kind"].drop_nulls()})
    return {
        "real": pl.col("real_kind").is_not_null(),
        "covered": COVERED,
        "grade": pl.when(COVERED).then("grade"),
        "real_grade": pl.when(COVERED).then("real_grade"),
        "at_risk": pl.col("at_risk"),
        "solves": pl.col("at_risk") & pl.col("solves"),
        "real_solves": pl.col("at_risk") & pl.col("real_solves"),
        "written": pl.col("kind").is_not_null(),
        "unreadable": pl.col("kind") == Outcome.UNREADABLE,
        "repaired": pl.col("repair").is_not_null(),
        **{f"is {kind}": pl.col("kind") == kind for kind in kinds},
        **{f"was {kind}": pl.col("real_kind") == kind for kind in kinds},
    }


def metrics(sums: Sums) -> Iterator[Estimate]:
    yield sums.estimate("grade", "grade", "covered")
    yield sums.estimate("real_grade", "real_grade", "covered")
    yield sums.estimate("unreadable", "unreadable", "written")
    yield sums.estimate("repaired", "repaired", "written")
    yield from _shares(sums)
    yield from _solved(sums)


def _shares(sums: Sums) -> Iterator[Estimate]:
    """The share of each kind of outcome, and the total variation distance to the real students' shares."""
    kinds = [column.removeprefix("is ") for column in sums.table.columns if column.startswith("is ")]
    distance = np.zeros_like(sums.of("real"))
    for kind in kinds:
        share, real = sums.ratio(f"is {kind}", "written"), sums.ratio(f"was {kind}", "real")
        yield sums.estimated(SHARE + kind, share, "written")
        # The students' steps are the same for every method, so those of the first one serve.
        yield Estimate(SHARE + kind, [REAL], sums.strata, real[:, :1], sums.of("real")[0, :1])
        distance = distance + np.abs(share - real) / 2
    yield sums.estimated("outcome_distance", distance, "written")


def _solved(sums: Sums) -> Iterator[Estimate]:
    """The share solved by each step, of the method and of the students, and their mean distance.

    A rollout is cut at the student's last submission, often the one that solves the task, so plain shares
    would be lower for a perfect method than for the students. Kaplan and Meier's are not: they are made of
    the share that solves at each step, among the pairs of which neither has solved before.
    """
    overall = sums.strata.index(OVERALL)
    whole = [place for place, name in enumerate(sums.strata) if has_whole_rollouts(name)]
    names = [*(sums.strata[place] for place in whole), *(f"{STEP}{step}" for step in sums.steps)]
    at_risk = np.stack([sums.of("at_risk", step)[0] for step in sums.steps], axis=-1).cumsum(-1)

    def by_step_too(values: Array) -> Array:
        """Of [..., stratum, step], the last step of strata of whole rollouts, and each step of overall."""
        return np.concatenate([values[..., whole, -1], values[..., overall, :]], axis=-1)

    solved, real = curve(sums, "solves"), curve(sums, "real_solves")
    n = by_step_too(at_risk)
    yield Estimate("solved", sums.methods, names, by_step_too(solved), n)
    yield Estimate("real_solved", sums.methods, names, by_step_too(real), n)
    distance = np.abs(solved - real).mean(-1)[..., whole]
    yield Estimate("solved_distance", sums.methods, names[: len(whole)], distance, n[:, : len(whole)])


def curve(sums: Sums, solves: str) -> Array:
    """The share solved by each step, [resample, method, stratum, step]; flat where no pair is at risk."""
    hazards = sums.ratios(solves, "at_risk")
    hazards[..., 1:] = np.nan_to_num(hazards[..., 1:])
    return 1 - np.multiply.accumulate(1 - hazards, axis=-1)

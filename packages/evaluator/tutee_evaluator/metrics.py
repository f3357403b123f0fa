"""How near artificial students come to the real ones: METRICS, one long table, with intervals.

Coverage, grade proximity, CodeBLEU and their degradation are those of Koutcheme et al. (arXiv
2604.10720). Every metric is a function of sums over steps, so a bootstrap over students needs only the
sums of each student: one matrix product gives all resamples of all metrics. The same resamples serve
every method, so differences between methods (the skill over COPY) are paired.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt

from tutee_evaluator.rollout import COPY
from tutee_grader.config import Section

METRICS = pl.Schema(
    {
        "method": pl.String,
        "metric": pl.String,
        "stratum": pl.String,
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "n": pl.Int64,
    }
)

REAL = "real"  # the method of the rows that speak of the real students
OVERALL = "overall"
CHANGED = "changed"
ASSIGNMENT = "assignment="  # and its name
STEP = "step="  # and its number
SHARE = "share="  # and what became of the submissions
SKILL = "_skill"
DEGRADATION = "_degradation"
LIKENESS = ("grade_proximity", "codebleu", "codebleu_corrected")

Array = NDArray[np.float64]


class ReportConfig(Section):
    """Section `report` of params.yaml: resamples of the bootstrap, its seed, and rollouts shown in full."""

    resamples: PositiveInt = 2000
    seed: int = 2022
    examples: NonNegativeInt = 5


@dataclass(frozen=True)
class _Totals:
    """Sums over steps for the students as they are (resample 0) and for each resample of them.

    `values` has the axes resample, method, stratum, column.
    """

    values: Array
    methods: list[str]
    strata: list[str]
    columns: list[str]

    def of(self, column: str) -> Array:
        return self.values[..., self.columns.index(column)]

    def ratio(self, over: str, under: str) -> Array:
        return _divide(self.of(over), self.of(under))


@dataclass(frozen=True)
class _Measured:
    """One metric: `draws[resample, method, stratum]` and the steps `n[method, stratum]` behind it."""

    metric: str
    methods: list[str]
    strata: list[str]
    draws: Array
    n: Array


def measure(steps: pl.DataFrame, config: ReportConfig) -> pl.DataFrame:
    """METRICS of a table of steps (STEPS of `pairing`).

    Each value is over all steps of a method and stratum; `low` and `high` are the 2.5 and 97.5
    percentiles over resamples of the students; `n` counts the steps the value rests on. A value that is
    not defined, such as the skill where COPY is perfect, is null.
    """
    totals = _totals(steps, config)
    tables = [_table(measured) for measured in _measured(totals)]
    return pl.concat(tables).filter(pl.col("n") > 0).cast(METRICS)


def _measured(totals: _Totals) -> Iterator[_Measured]:
    methods, strata = totals.methods, totals.strata

    def plain(metric: str, over: str, under: str) -> _Measured:
        return _Measured(metric, methods, strata, totals.ratio(over, under), totals.of(under)[0])

    yield plain("coverage", "both", "real")
    for metric in LIKENESS:
        measured = plain(metric, metric, "both")
        yield measured
        yield from _skill(measured)
        yield from _degradation(measured)
    yield plain("grade", "grade", "both")
    yield plain("real_grade", "real_grade", "both")
    yield plain("solved", "solved", "started")
    yield plain("familiar_failures", "familiar", "failed")
    yield from _distribution(totals)
    yield _of_real(totals, "solved", "real_solved", "started")


def _skill(measured: _Measured) -> Iterator[_Measured]:
    """(m - copy) / (1 - copy): 1 is perfect, 0 is no better than handing in the same program again."""
    if COPY not in measured.methods:
        return
    copy = measured.draws[:, [measured.methods.index(COPY)], :]
    draws = _divide(measured.draws - copy, 1 - copy)
    yield _Measured(measured.metric + SKILL, measured.methods, measured.strata, draws, measured.n)


def _degradation(measured: _Measured) -> Iterator[_Measured]:
    """The mean over the later steps of (value at the step - value at step 1)."""
    numbers = [int(name.removeprefix(STEP)) for name in measured.strata if name.startswith(STEP)]
    at = {number: measured.strata.index(f"{STEP}{number}") for number in numbers}
    later = [at[number] for number in numbers if number > 1]
    if not later or 1 not in at:
        return
    change = measured.draws[:, :, later] - measured.draws[:, :, [at[1]]]
    known = ~np.isnan(change)
    draws = _divide(np.where(known, change, 0).sum(-1), known.sum(-1).astype(float))
    n = measured.n[:, later].sum(-1)
    yield _Measured(
        measured.metric + DEGRADATION, measured.methods, [OVERALL], draws[..., None], n[..., None]
    )


def _distribution(totals: _Totals) -> Iterator[_Measured]:
    """What becomes of submissions: each kind's share, and the total variation distance to the real shares."""
    kinds = [column.removeprefix("is ") for column in totals.columns if column.startswith("is ")]
    distance = np.zeros_like(totals.of("real"))
    for kind in kinds:
        share = totals.ratio(f"is {kind}", "handed in")
        real = _of_real(totals, SHARE + kind, f"was {kind}", "real")
        yield _Measured(SHARE + kind, totals.methods, totals.strata, share, totals.of("handed in")[0])
        yield real
        distance = distance + np.abs(share - totals.ratio(f"was {kind}", "real")) / 2
    yield _Measured("outcome_distance", totals.methods, totals.strata, distance, totals.of("handed in")[0])


def _of_real(totals: _Totals, metric: str, over: str, under: str) -> _Measured:
    """A metric of the real students; they are the same beside every method, so the first will do."""
    draws = totals.ratio(over, under)[:, :1]
    return _Measured(metric, [REAL], totals.strata, draws, totals.of(under)[0, :1])


def _totals(steps: pl.DataFrame, config: ReportConfig) -> _Totals:
    columns = _columns(steps)
    summed = [
        steps.filter(keep)
        .group_by("student", "method", stratum.cast(pl.String).alias("stratum"))
        .agg(expression.cast(pl.Float64).sum().alias(name) for name, expression in columns.items())
        for keep, stratum in _strata()
    ]
    table = pl.concat(summed)
    students = steps["student"].unique().sort().to_list()
    methods = steps["method"].unique().sort().to_list()
    strata = table["stratum"].unique().sort().to_list()
    values = np.zeros((len(students), len(methods), len(strata), len(columns)))
    student, method, stratum = (
        table[axis].replace_strict(names, range(len(names)), return_dtype=pl.Int64).to_numpy()
        for axis, names in (("student", students), ("method", methods), ("stratum", strata))
    )
    values[student, method, stratum] = table.select(*columns).to_numpy()
    drawn = np.tensordot(_weights(len(students), config), values, axes=1)
    return _Totals(drawn, methods, strata, list(columns))


def _strata() -> list[tuple[pl.Expr | bool, pl.Expr]]:
    """Which steps, and the name of the stratum they belong to."""
    return [
        (True, pl.lit(OVERALL)),
        (pl.col("changed"), pl.lit(CHANGED)),
        (True, pl.lit(ASSIGNMENT) + pl.col("assignment")),
        (True, pl.lit(STEP) + pl.col("step").cast(pl.String)),
    ]


def _columns(steps: pl.DataFrame) -> dict[str, pl.Expr]:
    """What is summed over steps, each a number per step."""
    real = pl.col("real_code").is_not_null()
    both = real & pl.col("code").is_not_null()
    kinds = sorted({*steps["kind"].drop_nulls(), *steps["real_kind"].drop_nulls()})
    return {
        "real": real,
        "both": both,
        "handed in": real & pl.col("kind").is_not_null(),
        "grade": pl.when(both).then("grade"),
        "real_grade": pl.when(both).then("real_grade"),
        "grade_proximity": pl.when(both).then("proximity"),
        "codebleu": pl.when(both).then("codebleu"),
        "codebleu_corrected": pl.when(both).then("codebleu_corrected"),
        "started": pl.col("step").is_not_null(),
        "solved": pl.col("solved"),
        "real_solved": pl.col("real_solved"),
        "failed": pl.col("familiar").is_not_null(),
        "familiar": pl.col("familiar"),
        **{f"is {kind}": real & (pl.col("kind") == kind) for kind in kinds},
        **{f"was {kind}": pl.col("real_kind") == kind for kind in kinds},
    }


def _weights(students: int, config: ReportConfig) -> Array:
    """How often each student is in each resample, [1 + resamples, students]; the first has each once."""
    drawn = np.random.default_rng(config.seed).multinomial(
        students, np.full(students, 1 / students), size=config.resamples
    )
    return np.vstack([np.ones(students), drawn])


def _table(measured: _Measured) -> pl.DataFrame:
    value = measured.draws[0]
    low, high = _interval(measured.draws)
    methods, strata = np.meshgrid(measured.methods, measured.strata, indexing="ij")
    return pl.DataFrame(
        {
            "method": methods.ravel().tolist(),
            "metric": measured.metric,
            "stratum": strata.ravel().tolist(),
            "value": value.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "n": measured.n.ravel().round().astype(np.int64),
        }
    ).with_columns(pl.col("value", "low", "high").fill_nan(None))


def _interval(draws: Array) -> tuple[Array, Array]:
    """The 2.5 and 97.5 percentiles of the resamples in which the value is defined, and the value itself."""
    value, ordered = draws[0], np.sort(draws[1:], axis=0)  # NaN comes last
    last = (~np.isnan(ordered)).sum(axis=0) - 1

    def percentile(share: float) -> Array:
        at = np.maximum(last, 0) * share
        below = np.take_along_axis(ordered, np.floor(at).astype(int)[None], axis=0)[0]
        above = np.take_along_axis(ordered, np.ceil(at).astype(int)[None], axis=0)[0]
        return below + (above - below) * (at - np.floor(at))

    # Where all resamples agree, rounding can put the value a hair outside of them.
    return np.minimum(percentile(0.025), value), np.maximum(percentile(0.975), value)


def _divide(over: Array, under: Array) -> Array:
    """over / under; NaN where `under` is nothing (or no more than rounding)."""
    empty = np.abs(under) < 1e-12
    return np.where(empty, np.nan, over / np.where(empty, 1, under))

"""Scores the samples of each step as a forecast of the student's next submission: the table SCORES.

The score of samples x_1..x_n against what the student did, y, is mean d(x_i, y) - mean d(x_i, x_j) / 2, where
the second mean is over the pairs i != j: a fair score (Ferro 2014), whose expectation does not depend on n.
With d the difference of grades it is the CRPS; with a distance of programs, an energy score (Gneiting and
Raftery 2007). A forecast that is sure and right has 0; lower is better.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tutee_evaluator.distance import token_distances
from tutee_evaluator.schemas import GREEDY
from tutee_evaluator.similarity import codebleu_distances

# One row per method, start and step, of the `n` samples that were drawn; null scores where n < 2. `crps` is
# that of the grades over 100; `energy` has the distance 1 - corrected CodeBLEU, the mean of both directions,
# `energy_tokens` the distance of tokens. `grade_hit` is the share of samples with the student's grade,
# `grade_among` 1 where there are any.
SCORES = pl.Schema(
    {
        "method": pl.String,
        "dialog_id": pl.String,
        "student": pl.String,
        "assignment": pl.String,
        "start": pl.Int64,
        "step": pl.Int64,
        "n": pl.Int64,
        "changed": pl.Boolean,
        "real_solved": pl.Boolean,
        "crps": pl.Float64,
        "energy": pl.Float64,
        "energy_tokens": pl.Float64,
        "grade_hit": pl.Float64,
        "grade_among": pl.Float64,
    }
)

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

_STEP = ["method", "dialog_id", "start", "step"]
_NOTHING, _ABSENT = -1, -2  # in place of a program's number: the sample has none; there is no such sample


def score(steps: pl.DataFrame) -> pl.DataFrame:
    """SCORES of the drawn samples in STEPS.

    After a rollout has solved the task, its solution stands. Any other sample without a program counts as
    grade 0, at distance 1 from the student's program, and has no grade to hit. To the spread of the samples
    it adds nothing, so that no forecast becomes better by it: what is real is always a program.
    """
    samples = _samples(steps)
    rows = samples.unique(_STEP, keep="first", maintain_order=True).with_row_index("row")
    samples = samples.join(rows.select(*_STEP, "row"), on=_STEP, maintain_order="left")
    row, column = samples["row"].to_numpy(), samples["column"].to_numpy()
    shape = (rows.height, int(column.max(initial=-1)) + 1)
    programs = pl.concat([samples["program"], rows["real_code"]]).drop_nulls().unique(maintain_order=True)

    grades, written = np.full(shape, np.nan), np.full(shape, _ABSENT)
    grades[row, column] = samples["grade"].to_numpy()
    written[row, column] = _numbers(samples["program"], programs)
    real_grade = rows["real_grade"].to_numpy()[:, None]
    energy, energy_tokens = _energies(written, _numbers(rows["real_code"], programs), programs)
    hits = (np.abs(grades - real_grade) < 1e-9) & (written != _NOTHING)
    n = (written != _ABSENT).sum(1)
    return (
        rows.with_columns(
            n=n,
            crps=_crps(grades / 100, real_grade / 100),
            energy=energy,
            energy_tokens=energy_tokens,
            grade_hit=hits.sum(1) / n,
            grade_among=hits.any(1).astype(float),
        )
        .with_columns(pl.col("crps", "energy", "energy_tokens").fill_nan(None))
        .select(SCORES.names())
        .cast(SCORES)
    )


def _samples(steps: pl.DataFrame) -> pl.DataFrame:
    """The drawn samples of STEPS, numbered in `column` from 0 within each step.

    `program` and `grade` are what counts.
    """
    rollout = ["method", "dialog_id", "start", "sample"]
    solution = pl.when("solves").then("code").forward_fill().over(rollout, order_by="step")
    return (
        steps.filter(pl.col("sample") > GREEDY)
        .with_columns(program=pl.coalesce("code", solution))
        .with_columns(
            grade=pl.when(pl.col("program").is_null()).then(0.0).otherwise(pl.col("grade").fill_null(100.0)),
            column=pl.int_range(pl.len()).over(_STEP),
        )
    )


def _numbers(written: pl.Series, programs: pl.Series) -> Indices:
    """The place of each program in `programs`."""
    return written.cast(pl.Enum(programs)).to_physical().cast(pl.Int64).fill_null(_NOTHING).to_numpy()


def _crps(grades: Array, real: Array) -> Array:
    """Of grades [step, sample] against real ones [step, 1]."""
    one, other = np.triu_indices(grades.shape[1], 1)
    return _fair(np.abs(grades - real), np.abs(grades[:, one] - grades[:, other]))


def _energies(written: Indices, real: Indices, programs: pl.Series) -> tuple[Array, Array]:
    """The energy scores, by CodeBLEU and by tokens, of programs [step, sample] against real ones [step]."""
    samples = written.shape[1]
    first, second = np.triu_indices(samples, 1)
    one = np.hstack([written, written[:, first]])
    other = np.hstack([np.repeat(real[:, None], samples, axis=1), written[:, second]])
    low, high = np.minimum(one, other), np.maximum(one, other)
    # Each pair is compared once for the whole table, whatever the order of the two.
    differ = (low >= 0) & (low != high)
    keys, places = np.unique(low[differ] * len(programs) + high[differ], return_inverse=True)
    texts = programs.to_list()
    pairs = [(texts[key // len(texts)], texts[key % len(texts)]) for key in keys.tolist()]

    def energy(known: Array) -> Array:
        distances = np.where(low == high, 0.0, 1.0)
        distances[differ] = known[places]
        distances[:, samples:][low[:, samples:] == _NOTHING] = 0
        distances[low == _ABSENT] = np.nan
        return _fair(distances[:, :samples], distances[:, samples:])

    return energy(codebleu_distances(pairs)), energy(np.array(token_distances(pairs)))


def _fair(to_real: Array, among: Array) -> Array:
    """The fair score of each row, from its samples' distances to what is real and of each pair of them.

    NaN marks what is absent, and the score of fewer than two samples.
    """
    pairs = (~np.isnan(among)).sum(1)
    n = (~np.isnan(to_real)).sum(1)
    spread = np.nansum(among, 1) / np.where(pairs, pairs, np.nan) / 2
    return np.nansum(to_real, 1) / n - spread

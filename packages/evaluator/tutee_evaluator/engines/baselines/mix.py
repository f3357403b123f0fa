"""The baseline that mixes two others, at the weight that suits validation students best."""

from collections.abc import Iterator, Sequence
from itertools import product
from random import Random

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tutee_evaluator.engines.baselines.baseline import Baseline
from tutee_evaluator.engines.baselines.nearest import Nearest
from tutee_evaluator.engines.baselines.revisions import read_revisions
from tutee_evaluator.similarity import codebleu_distances
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.levels import Feedback

FORECASTS = 300  # of validation students' submissions; each compares about 50 pairs of programs
Forecast = Sequence[str]  # COPY's program, NEAREST's equally likely ones, and what the student submitted


class Mix(Baseline):
    """The baseline that is NEAREST with a probability fitted on validation students, else COPY.

    `weight` is that probability: the one with the least mean energy score of the code (see `fit_weight`), and
    1/2 where no validation student submitted twice. Likeliest is the program of the one with more weight, and
    COPY's where they have the same.
    """

    def __init__(self, format: str, feedback: Feedback, dialogs: pl.DataFrame) -> None:
        super().__init__(format, feedback)
        self._nearest = Nearest(format, feedback, dialogs)
        forecasts = [
            [
                revision.program,
                *(one.program for one in self._nearest.successors.of(task, revision.program)),
                revision.next,
            ]
            for task, revisions in read_revisions(dialogs, "validation").items()
            for revision in revisions
        ]
        if len(forecasts) > FORECASTS:
            forecasts = Random(0).sample(forecasts, FORECASTS)
        self.weight = fit_weight(forecasts) if forecasts else 0.5

    def next_program(self, dialog: Dialog, previous: str, random: Random | None) -> str:
        is_nearest = random.random() < self.weight if random else self.weight > 0.5
        return self._nearest.next_program(dialog, previous, random) if is_nearest else previous


def fit_weight(forecasts: Sequence[Forecast]) -> float:
    """NEAREST's weight w, 0 to 1, at which the mean energy score of the mixtures is least.

    The score of a mixture X against the real program y is E d(X, y) - E d(X, X') / 2, where d is
    1 - corrected CodeBLEU, the mean of both directions. With COPY's program c and NEAREST's programs x it is

        (1 - w) d(c, y) + w mean d(x, y) - (2 w (1 - w) mean d(c, x) + w^2 mean d(x, x')) / 2

    and so quadratic in w.
    """
    copy, nearest, real = 0, slice(1, -1), -1
    linear = square = 0.0
    for distance in _distances(forecasts):
        between = distance[copy, nearest].mean()
        linear += distance[nearest, real].mean() - distance[copy, real] - between
        square += between - distance[nearest, nearest].mean() / 2
    return least_weight(linear, square)


def least_weight(linear: float, square: float) -> float:
    """The w from 0 to 1 with the least `linear` w + `square` w^2."""
    if square <= 0:  # by the triangle inequality, only where NEAREST submits what COPY does
        return 0.0
    return float(np.clip(-linear / (2 * square), 0, 1))


def _distances(forecasts: Sequence[Forecast]) -> Iterator[NDArray[np.float64]]:
    """The distances of each forecast's programs to each other, as a matrix."""
    found = codebleu_distances([pair for programs in forecasts for pair in product(programs, programs)])
    sizes = [len(programs) for programs in forecasts]
    parts = np.split(found, np.cumsum(np.square(sizes))[:-1])
    yield from (part.reshape(size, size) for part, size in zip(parts, sizes, strict=True))

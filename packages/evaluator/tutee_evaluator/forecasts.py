"""The distances between the programs of a forecast and what the student really submitted, as matrices.

What a forecast's proper scores are made of, where they are needed one by one: `scores.py` computes the scores
of whole tables.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tutee_evaluator.similarity import codebleu_distances

Array = NDArray[np.float64]
Program = str | None  # None: a turn without a program


def program_distances(forecasts: Sequence[Sequence[Program]]) -> list[Array]:
    """For each forecast, whose last program is the real one, the distances between all of its programs.

    They are those of the energy score: 1 - corrected CodeBLEU, the mean of both directions. A turn without a
    program is at distance 1 from the real program, and adds nothing to the spread.
    """
    pairs = [
        (one, other)
        for programs in forecasts
        for one, other in combinations(programs, 2)
        if one is not None and other is not None and one != other
    ]
    found = iter(codebleu_distances(pairs).tolist() if pairs else [])
    matrices = []
    for programs in forecasts:
        matrix = np.zeros((len(programs), len(programs)))
        for (i, one), (j, other) in combinations(enumerate(programs), 2):
            if one is None or other is None:
                distance = float(j == len(programs) - 1)
            else:
                distance = next(found) if one != other else 0.0
            matrix[i, j] = matrix[j, i] = distance
        matrices.append(matrix)
    return matrices


def grade_distances(grades: Sequence[float]) -> Array:
    """The differences of grades / 100, as in the CRPS; the last is the real one."""
    column = np.array(grades) / 100
    return np.abs(column[:, None] - column)

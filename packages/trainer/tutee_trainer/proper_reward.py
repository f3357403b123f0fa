"""A reward whose expected gradient is that of proper scores: the policy is taught to be the right forecast.

For samples x_1..x_n of one prompt and what the student really did, y, the score of a policy p is

    S(p) = E d(X, y) - E d(X, X') / 2,    X and X' drawn from p,

the energy score where d is a distance of programs, the CRPS where it is that of grades (Gneiting and Raftery
2007). By the product rule, its gradient has the spread once, not half:

    grad S = E[(d(X, y) - E d(X, X')) grad log p(X)].

So sample i should earn -d(x_i, y) + mean over j != i of d(x_i, x_j): close to the student, and far from the
other samples. A reward without the second term is best answered by one turn, always: the one that is nearest
to the others; one without the first, by noise.

The trainer subtracts the group's mean reward, which depends on x_i too. Of -d(x_i, y) this takes away the
share 1/n; of the spread 2/n, since each d(x_i, x_j) is also in the reward of x_j. For the two to keep their
proportion, the spread is summed over j and divided by n - 2, not by n - 1. Then the expected gradient of the
policy's loss is (n - 1) grad S for each prompt, exactly (tests/trainer/test_proper_reward.py counts it out).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tutee_grader.verdict import Outcome, Verdict

LEAST_SAMPLES = 3  # with two, the spread is lost altogether when the mean is taken away

Array = NDArray[np.float64]


def score_rewards(distances: Array) -> Array:
    """What n samples earn [n], from their distances [n + 1, n + 1], of which the last are to what is real."""
    to_real, among = distances[:-1, -1], distances[:-1, :-1]
    return among.sum(1) / (len(to_real) - 2) - to_real


def failing_distances(verdicts: Sequence[Verdict | None]) -> Array:
    """The Jaccard distances of the sets of failing tests; the last verdict is the real one.

    Where there is none, the sample is at distance 1 from the real program, and adds nothing to the spread.
    """
    failing = [None if verdict is None else failing_tests(verdict) for verdict in verdicts]
    real = len(failing) - 1
    return np.array(
        [
            [_jaccard(one, other, float(i != j and real in (i, j))) for j, other in enumerate(failing)]
            for i, one in enumerate(failing)
        ]
    )


def failing_tests(verdict: Verdict) -> set[int]:
    """The tests that did not pass, by their place in the assignment."""
    return {place for place, test in enumerate(verdict.tests) if test.outcome != Outcome.PASSED}


def _jaccard(one: set[int] | None, other: set[int] | None, absent: float) -> float:
    if one is None or other is None:
        return absent
    return 1 - len(one & other) / len(one | other) if one | other else 0.0

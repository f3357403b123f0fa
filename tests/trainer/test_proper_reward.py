"""The reward that follows the gradient of proper scores, counted out on a toy policy."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutee_grader.verdict import Outcome, Status, TestResult, Verdict
from tutee_trainer.proper_reward import failing_distances, score_rewards

LOGITS = st.lists(st.floats(-2, 2), min_size=3, max_size=3).map(np.array)
# Places on a line: the score is the CRPS.
PLACES = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(np.array)


def policy(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def score(logits: np.ndarray, places: np.ndarray, real: float) -> float:
    """Of a policy that answers `places[k]` with its probability k."""
    p = policy(logits)
    return float(p @ np.abs(places - real) - p @ np.abs(places[:, None] - places) @ p / 2)


def gradient(logits: np.ndarray, places: np.ndarray, real: float) -> np.ndarray:
    """By central differences."""
    steps = np.eye(len(logits)) * 1e-5
    return np.array(
        [(score(logits + step, places, real) - score(logits - step, places, real)) / 2e-5 for step in steps]
    )


def expected_update(logits: np.ndarray, places: np.ndarray, real: float, n: int) -> np.ndarray:
    """The mean, over all groups of n samples, of the sum of (reward - group's mean) grad log p(sample)."""
    p = policy(logits)
    total = np.zeros(len(p))
    for group in product(range(len(p)), repeat=n):
        answers = np.array([*places[list(group)], real])
        rewards = score_rewards(np.abs(answers[:, None] - answers))
        update = (rewards - rewards.mean()) @ (np.eye(len(p))[list(group)] - p)
        total += p[list(group)].prod() * update
    return total


@pytest.mark.parametrize("n", [3, 4, 5])
@given(logits=LOGITS, places=PLACES, real=st.floats(0, 1))
def test_the_expected_update_is_the_gradient_of_the_score(
    n: int, logits: np.ndarray, places: np.ndarray, real: float
) -> None:
    expected = expected_update(logits, places, real, n)
    assert expected == pytest.approx(-(n - 1) * gradient(logits, places, real), abs=1e-6)


def test_a_policy_that_is_taught_by_it_becomes_the_students_distribution() -> None:
    """Students answer 0, a half or 1 with these shares; the mode alone, or noise, would score worse."""
    places, shares = np.array([0.0, 0.5, 1.0]), np.array([0.5, 0.2, 0.3])
    logits = np.array([-1.0, 1.0, 0.5])
    for _ in range(3000):
        updates = [expected_update(logits, places, real, 3) for real in places]
        logits = logits + 0.5 * shares @ np.array(updates)
    assert policy(logits) == pytest.approx(shares, abs=0.01)


def verdict(*passed: bool, grade: float = 0.0) -> Verdict:
    tests = tuple(
        TestResult(str(place), Outcome.PASSED if one else Outcome.FAILED) for place, one in enumerate(passed)
    )
    return Verdict(grade, Status.COMPILES, tests)


def test_failing_tests_are_compared_as_sets() -> None:
    one_of_three, two_of_three, none = verdict(True, True, False), verdict(True, False, False), verdict(True)
    distances = failing_distances([one_of_three, two_of_three, none, None, two_of_three])
    assert distances[:, -1] == pytest.approx([0.5, 0, 1, 1, 0])
    assert distances[0, :4] == pytest.approx([0, 0.5, 1, 0])
    assert distances == pytest.approx(distances.T)

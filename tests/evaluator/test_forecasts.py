"""The distances that proper scores are made of."""

import pytest

from tutee_evaluator.forecasts import grade_distances, program_distances
from tutee_evaluator.similarity import codebleu_distances

REAL = "def f(n):\n    return n + 1\n"
NEAR = "def f(n):\n    return n + 2\n"
FAR = "import math\nprint(math.pi)\n"


def test_programs_are_compared_by_the_distance_of_the_energy_score() -> None:
    (matrix,) = program_distances([[REAL, NEAR, NEAR, FAR, REAL]])
    near, far, between = codebleu_distances([(NEAR, REAL), (FAR, REAL), (NEAR, FAR)])
    assert 0 < near < far
    assert matrix[:, -1] == pytest.approx([0, near, near, far, 0])
    assert matrix[1, :4] == pytest.approx([near, 0, 0, between])
    assert matrix == pytest.approx(matrix.T)


def test_a_turn_without_a_program_is_far_from_the_student_and_gives_the_others_no_spread() -> None:
    (matrix,) = program_distances([[None, NEAR, FAR, REAL]])
    assert matrix[0] == pytest.approx([0, 0, 0, 1])
    assert matrix[:, 0] == pytest.approx([0, 0, 0, 1])
    assert matrix[1, 2] > 0


def test_forecasts_of_different_sizes_are_apart() -> None:
    small, large = program_distances([[NEAR, REAL], [FAR, NEAR, REAL]])
    assert small.shape == (2, 2)
    assert large[1, 2] == pytest.approx(small[0, 1])
    assert large[0, 2] > small[0, 1]


def test_nothing_to_compare_has_no_distance() -> None:
    (matrix,) = program_distances([[REAL, REAL]])
    assert not matrix.any()


def test_grades_are_compared_on_the_scale_of_the_crps() -> None:
    matrix = grade_distances([100, 25, 50])
    assert matrix[:, -1] == pytest.approx([0.5, 0.25, 0])
    assert matrix[0] == pytest.approx([0, 0.75, 0.5])

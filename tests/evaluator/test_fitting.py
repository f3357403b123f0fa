"""The scores of a mixture in closed form, and the weights that make them least."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutee_evaluator.calibration.fitting import FOLDS, Forecasts, cross_validate, fit
from tutee_evaluator.forecasts import grade_distances

STATE = (0.5, 0.0, 0.0)
GRADES = st.lists(st.integers(0, 100), min_size=1, max_size=3)
WEIGHTS = st.lists(st.integers(1, 9), min_size=4, max_size=4).map(lambda one: np.array(one) / sum(one))


def forecasts(*works: tuple[list[list[float]], float, str]) -> Forecasts:
    """Of the grades of each component, the real grade, and the student; the code's distances are the same."""
    matrices = [
        grade_distances([*(one for component in components for one in component), real])
        for components, real, _ in works
    ]
    shares = [
        [[1 / len(component)] * len(component) for component in components] for components, _, _ in works
    ]
    return Forecasts.of([matrices, matrices], shares, [STATE] * len(works), [name for *_, name in works])


@given(copy=GRADES, peers=GRADES, nearest=GRADES, real=st.integers(0, 100), weights=WEIGHTS)
def test_a_mixtures_score_is_the_crps_of_its_draws(
    copy: list[float], peers: list[float], nearest: list[float], real: float, weights: np.ndarray
) -> None:
    """Of three forecasts that draw from their programs, and a model of two samples that are always alike."""
    components = [copy, peers, [70.0, 70.0], nearest]
    chances = [
        (grade, weight / len(component))
        for component, weight in zip(components, weights, strict=True)
        for grade in component
    ]
    to_real = sum(chance * abs(grade - real) for grade, chance in chances)
    spread = sum(p * q * abs(one - other) for (one, p), (other, q) in product(chances, chances))
    (energy, crps) = forecasts((components, real, "a")).scores(weights[None])
    assert crps == pytest.approx((to_real - spread / 2) / 100)
    assert energy == crps


def test_the_models_spread_does_not_depend_on_the_number_of_its_samples() -> None:
    """Of samples that are 0 and 100 in turn, of two or of four, any two are compared but one with itself."""
    two = forecasts(([[0], [0], [0, 100], [0]], 0, "a"))
    four = forecasts(([[0], [0], [0, 100, 0, 100], [0]], 0, "a"))
    assert two.among[0, 0, 2, 2] == pytest.approx(1)
    assert four.among[0, 0, 2, 2] == pytest.approx(8 / 12)


def test_programs_count_as_likely_as_they_are() -> None:
    distances = [grade_distances([50, 0, 100, 20, 20, 0, 100])]
    found = Forecasts.of([distances], [[[1.0], [0.9, 0.1], [0.5, 0.5], [1.0]]], [STATE], ["a"])
    assert found.to_real[0, 0] == pytest.approx([0.5, 0.9, 0.8, 1])
    assert found.among[0, 0, 1, 1] == pytest.approx(2 * 0.9 * 0.1)


def test_the_weights_that_are_fitted_score_better_than_any_others() -> None:
    draws = np.random.default_rng(0)
    works = [
        ([[50], *(list(draws.integers(0, 101, 4)) for _ in range(3))], float(real), str(number))
        for number, real in enumerate(draws.integers(0, 101, 30))
    ]
    found = forecasts(*works)
    fitted = np.array(list(fit(found, 0).chances(STATE).values()))
    least = found.scores(np.broadcast_to(fitted, (30, 3))).sum()
    grid = [np.array([i, j, 20 - i - j]) / 20 for i, j in product(range(21), repeat=2) if i + j <= 20]
    assert least <= min(found.scores(np.broadcast_to(one, (30, 3))).sum() for one in grid) + 1e-9


def test_neither_score_is_bought_with_the_other() -> None:
    """Peers are worse for the code by 0.4 of MIX's score (here COPY's), and better for the grade by 0.6."""
    to_real = np.array([[[0.5, 0.7, 9.0, 9.0]], [[0.5, 0.2, 9.0, 9.0]]])
    found = Forecasts(to_real, np.zeros((2, 1, 4, 4)), np.array([STATE]), ["a"])
    chances = fit(found, 0).chances(STATE)
    assert chances["peers"] < 0.05
    assert chances["copy"] > 0.95


def right_model(students: int) -> Forecasts:
    """The look-ups are 50 and 25 off; the model is right. Each student has two submissions."""
    works = [([[50.0], [75.0], [100.0, 100.0], [75.0]], 100.0, str(at // 2)) for at in range(2 * students)]
    return forecasts(*works)


def test_skill_is_measured_on_other_students() -> None:
    skills = cross_validate(right_model(FOLDS), 0)
    assert skills["model_crps_skill_over_mix"] == pytest.approx(1)
    assert skills["crps_skill_over_mix"] == pytest.approx(1, abs=0.01)
    assert set(skills) == {
        f"{of}{score}_skill_over_mix" for of in ("", "model_") for score in ("energy", "crps")
    }


def test_what_holds_for_one_student_alone_shows_no_skill() -> None:
    """The model is right for the first student, whose weights are fitted on the others, wrong for them."""
    components = [[50.0], [50.0], [100.0, 100.0], [50.0]]
    works = [(components, 100.0 if at == 0 else 50.0, str(at)) for at in range(FOLDS)]
    skills = cross_validate(forecasts(*works), 0)
    assert skills["crps_skill_over_mix"] <= 0.01
    assert skills["model_crps_skill_over_mix"] < 0


def test_too_few_students_give_no_figures() -> None:
    assert cross_validate(right_model(FOLDS - 1), 0) == {}

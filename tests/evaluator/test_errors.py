from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutee_evaluator.metrics import ReportConfig, errors, measure
from tutee_evaluator.metrics.bootstrap import resample, sum_steps
from tutee_evaluator.pairing import STEPS
from tutee_evaluator.scores import SCORES

Rows = list[dict[str, Any]]


def steps_of(rows: Rows) -> pl.DataFrame:
    """STEPS of programs that were graded, with defaults for what a test leaves out."""
    full = []
    for row in rows:
        row = {"method": "sft", "student": "ada", "assignment": "double", "start": 2, "step": 1} | row
        row = {"dialog_id": "d", "sample": 1, "code": "x", "real_grade": 0.0, "at_risk": True} | row
        full.append(row)
    return pl.DataFrame(full, STEPS)


def measured(rows: Rows, stratum: str = "overall") -> dict[str, Any]:
    """The value of each metric."""
    metrics = measure(steps_of(rows), pl.DataFrame(schema=SCORES), ReportConfig(resamples=10))
    return dict(metrics.filter(stratum=stratum).select("metric", "value").rows())


def failures(failed: str, real_failed: str, **columns: Any) -> dict[str, Any]:
    """A step at which these tests failed, a letter each."""
    return {"failed": list(failed), "real_failed": list(real_failed), **columns}


def test_failing_tests_are_compared_where_the_student_failed_any() -> None:
    values = measured(
        [
            failures("ab", "bc"),  # 1 of 3
            failures("", "a"),  # solved: 0
            failures("cb", "bc"),  # the same
            failures("a", ""),  # the student solved the task
            failures("", ""),
            {"code": None, "real_failed": ["a"]},  # no program
        ]
    )

    assert values["error_iou"] == pytest.approx((1 / 3 + 0 + 1) / 3)


def test_familiar_failures_are_those_that_some_student_made() -> None:
    assert measured([{"familiar": True}, {"familiar": True}, {"familiar": False}, {"familiar": None}])[
        "familiar_failures"
    ] == pytest.approx(2 / 3)


def test_shares_of_errors_are_over_the_programs_with_an_error() -> None:
    values = measured(
        [
            {"error": "NameError", "real_error": "NameError"},
            {"error": "NameError", "real_error": "timeout"},
            {"error": "wrong result", "real_error": None},
            {"error": "wrong result", "real_error": "timeout"},
            {"error": None, "real_error": "timeout"},
            {"error": "TypeError", "real_error": "TypeError", "at_risk": False},
        ]
    )

    shares = {name: value for name, value in values.items() if name.startswith(("error=", "real_error="))}
    kinds = {"NameError": (1 / 2, 1 / 4), "wrong result": (1 / 2, 0), "timeout": (0, 3 / 4)}
    assert shares == {
        **{f"error={kind}": mine for kind, (mine, _) in kinds.items()},
        **{f"real_error={kind}": real for kind, (_, real) in kinds.items()},
    }
    assert values["error_distance"] == pytest.approx((1 / 4 + 1 / 2 + 3 / 4) / 2)


def test_signatures_are_compared_within_assignments_weighted_by_the_students_failures() -> None:
    rows = [
        # double: the students' ab, ab, a against a, a and c.
        failures("a", "ab"),
        failures("a", "ba"),
        failures("c", "a"),
        failures("", ""),
        # greet: once the same.
        failures("ab", "ba", assignment="greet"),
        failures("a", "b", assignment="greet", at_risk=False),
    ]

    values = measured(rows)

    # Shares of ab, a and c: 0, 2/3, 1/3 and 2/3, 1/3, 0.
    apart = ((2 / 3) ** 2 / (2 / 3) + (1 / 3) ** 2 / 1 + (1 / 3) ** 2 / (1 / 3)) / 2
    assert values["error_overlap"] == pytest.approx((3 * 1 / 3 + 1 * 1) / 4)
    assert values["error_chi2"] == pytest.approx((3 * apart + 1 * 0) / 4)
    assert measured(rows, "assignment=greet")["error_overlap"] == 1


def test_chi2_is_the_statistic_of_homogeneity_over_the_number_of_programs() -> None:
    # 5 programs and 5 of the students; the statistic from observed and expected counts.
    observed = np.array([[3, 2, 0], [1, 3, 1]])
    expected = observed.sum(1, keepdims=True) * observed.sum(0) / observed.sum()
    statistic = ((observed - expected) ** 2 / expected).sum()
    mine, real = "aaabb", "abbbc"

    values = measured([failures(one, other) for one, other in zip(mine, real, strict=True)])

    assert values["error_chi2"] == pytest.approx(statistic / 10)


def test_a_method_that_fails_nothing_has_nothing_in_common_with_students_who_do() -> None:
    values = measured([failures("", "a"), failures("", "b")])

    assert (values["error_overlap"], values["error_chi2"]) == (0, 1)


signatures = st.text("abc", max_size=2)
students = st.sampled_from(["ada", "ben", "cem"])


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(signatures, signatures.filter(bool), students), min_size=1, max_size=12))
def test_chi2_lies_between_what_is_not_shared_and_its_square(rows: list[tuple[str, str, str]]) -> None:
    values = measured([failures(mine, real, student=student) for mine, real, student in rows])

    apart = 1 - values["error_overlap"]
    assert apart**2 - 1e-9 <= values["error_chi2"] <= apart + 1e-9


@settings(deadline=None, max_examples=8)
@given(st.lists(st.tuples(signatures, students), min_size=1, max_size=12))
def test_the_students_own_failures_have_all_in_common(rows: list[tuple[str, str]]) -> None:
    # The same failures in another order of the steps.
    mine = [failed for failed, _ in rows]
    values = measured([failures(m, r, student=s) for m, (r, s) in zip(reversed(mine), rows, strict=True)])

    if any(mine):
        assert values["error_overlap"] == pytest.approx(1)
        assert values["error_chi2"] == pytest.approx(0, abs=1e-9)


def _draws(rows: pl.DataFrame, weights: Any, students: list[str]) -> dict[str, Any]:
    """Each metric's draws over all steps."""
    chosen = errors.rows(rows, rows)
    sums = sum_steps(chosen, errors.columns(chosen), students, weights)
    place = sums.strata.index("overall")
    return {estimate.metric: estimate.draws[:, 0, place] for estimate in errors.metrics(sums)}


def test_a_resample_has_the_value_of_a_course_with_these_students() -> None:
    random = np.random.default_rng(0)
    rows = [
        failures(
            random.choice(["", "a", "ab", "b"]),
            random.choice(["a", "ab", "b"]),
            student=student,
            assignment=str(random.choice(["double", "greet"])),
            error=str(random.choice(["NameError", "timeout"])),
            real_error=str(random.choice(["NameError", "timeout"])),
        )
        for student in ("ada", "ben", "cem")
        for _ in range(6)
    ]
    names = ["ada", "ben", "cem"]
    weights = resample(3, 12, seed=1)

    draws = _draws(steps_of(rows), weights, names)

    for number, weight in enumerate(weights):
        times = dict(zip(names, weight.astype(int).tolist(), strict=True))
        course = [row for row in rows for _ in range(times[row["student"]])]
        alone = _draws(steps_of(course), np.ones((1, 3)), names)
        for metric, value in alone.items():
            assert draws[metric][number] == pytest.approx(value[0], nan_ok=True), metric
    assert Counter(len(set(found.round(9))) > 1 for found in draws.values())[True] >= 6

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tutee_evaluator.metrics import METRICS, ReportConfig, measure
from tutee_evaluator.metrics.outcomes import REAL
from tutee_evaluator.metrics.paper import SIMILARITY
from tutee_evaluator.pairing import STEPS

FEW = ReportConfig(resamples=50)


def steps_of(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """STEPS, with defaults for columns that a test leaves out and columns that follow from grades."""
    full = []
    for row in rows:
        row = {
            "method": "sft",
            "student": "ada",
            "assignment": "double",
            "start": 2,
            "sample": 0,
            "step": 1,
        } | row
        for whose in ("", "real_"):
            grade = row.get(f"{whose}grade")
            if grade is not None:
                kind = "solved" if grade == 100 else "some tests pass" if grade else "no test passes"
                row = {f"{whose}code": "x", f"{whose}kind": kind} | row
            row.setdefault(f"{whose}solved", grade == 100)
        if row.get("grade") is not None and row.get("real_grade") is not None:
            row.setdefault("proximity", 1 - abs(row["grade"] - row["real_grade"]) / 100)
            row.setdefault("codebleu", 0.5)
            row.setdefault("codebleu_corrected", 0.25)
        full.append(row)
    return pl.DataFrame(full, schema=STEPS)


def value(metrics: pl.DataFrame, metric: str, method: str = "sft", stratum: str = "overall") -> float | None:
    return metrics.row(
        by_predicate=(pl.col("metric") == metric)
        & (pl.col("method") == method)
        & (pl.col("stratum") == stratum),
        named=True,
    )["value"]


def test_unreadable_and_repaired_turns_are_counted_out_of_all_that_were_written() -> None:
    metrics = measure(
        steps_of(
            [
                {"step": 1, "grade": 0.0, "repair": "no fence"},
                {"step": 2, "grade": 50.0, "real_grade": 50.0},
                {"step": 3, "grade": 50.0, "repair": "no fence, a thought before the turn"},
                {"student": "ben", "kind": "unreadable", "real_grade": 0.0},
                {"student": "ben", "step": 2, "real_grade": 0.0},  # the rollout was over
            ]
        ),
        FEW,
    )

    assert value(metrics, "unreadable") == 1 / 4
    assert value(metrics, "repaired") == 2 / 4


def test_coverage_counts_steps_with_both_out_of_steps_with_a_real_one() -> None:
    metrics = measure(
        steps_of(
            [
                {"step": 1, "grade": 0.0, "real_grade": 50.0},
                {"step": 2, "grade": 100.0, "real_grade": 50.0},
                {"step": 3, "real_grade": 100.0},  # the rollout was over
                {"step": 4, "kind": "unreadable"},  # beyond the student
                {"student": "ben", "kind": "unreadable", "real_grade": 0.0},
            ]
        ),
        FEW,
    )

    assert value(metrics, "coverage") == 2 / 4


def test_grade_proximity_is_over_steps_with_both() -> None:
    metrics = measure(
        steps_of(
            [
                {"step": 1, "grade": 25.0, "real_grade": 50.0},  # 0.75
                {"step": 2, "grade": 100.0, "real_grade": 100.0},  # 1
                {"step": 3, "real_grade": 100.0},
                {"step": 4, "grade": 40.0},
                {"student": "ben", "grade": 0.0, "real_grade": 90.0},  # 0.1
            ]
        ),
        FEW,
    )

    assert value(metrics, "grade_proximity") == pytest.approx((0.75 + 1 + 0.1) / 3)
    assert value(metrics, "grade") == pytest.approx((25 + 100 + 0) / 3)
    assert value(metrics, "real_grade") == pytest.approx((50 + 100 + 90) / 3)
    assert value(metrics, "codebleu") == 0.5
    assert value(metrics, "codebleu_corrected") == 0.25


def test_strata_hold_the_steps_they_name() -> None:
    metrics = measure(
        steps_of(
            [
                {"step": 1, "grade": 0.0, "real_grade": 50.0, "changed": True},  # 0.5
                {"step": 2, "grade": 50.0, "real_grade": 50.0, "changed": False},  # 1
                {"assignment": "greet", "grade": 20.0, "real_grade": 100.0, "changed": True},  # 0.2
            ]
        ),
        FEW,
    )

    found = {
        stratum: value(metrics, "grade_proximity", stratum=stratum) for stratum in metrics["stratum"].unique()
    }
    assert found == pytest.approx(
        {
            "overall": 1.7 / 3,
            "changed": 0.35,
            "assignment=double": 0.75,
            "assignment=greet": 0.2,
            "step=1": 0.35,
            "step=2": 1.0,
        }
    )


def test_degradation_is_the_mean_change_from_step_1() -> None:
    metrics = measure(
        steps_of(
            [
                {"step": 1, "grade": 90.0, "real_grade": 100.0},  # 0.9
                {"step": 1, "start": 3, "grade": 70.0, "real_grade": 100.0},  # 0.7: step 1 has 0.8
                {"step": 2, "grade": 60.0, "real_grade": 100.0},  # 0.6: -0.2
                {"step": 3, "grade": 50.0, "real_grade": 100.0},  # 0.5: -0.3
            ]
        ),
        FEW,
    )

    assert value(metrics, "grade_proximity_degradation") == pytest.approx((-0.2 - 0.3) / 2)
    assert value(metrics, "codebleu_degradation") == 0


def test_skill_is_the_share_of_copys_deficit_that_is_removed() -> None:
    metrics = measure(
        steps_of(
            [
                {"grade": 80.0, "real_grade": 100.0, "codebleu": 0.4},
                {"method": "copy", "grade": 60.0, "real_grade": 100.0, "codebleu": 0.6},
            ]
        ),
        FEW,
    )

    assert value(metrics, "grade_proximity_skill") == pytest.approx((0.8 - 0.6) / 0.4)
    assert value(metrics, "codebleu_skill") == pytest.approx((0.4 - 0.6) / 0.4)
    assert value(metrics, "grade_proximity_skill", "copy") == 0


def test_skill_over_a_perfect_copy_is_not_defined() -> None:
    same = {"grade": 80.0, "real_grade": 80.0}

    assert value(measure(steps_of([same, same | {"method": "copy"}]), FEW), "grade_proximity_skill") is None


def test_outcomes_are_compared_with_the_students_own() -> None:
    metrics = measure(
        steps_of(
            [
                {"step": 1, "grade": 100.0, "real_grade": 0.0},
                {"step": 2, "grade": 50.0, "real_grade": 0.0},
                {"step": 3, "grade": 50.0, "real_grade": 50.0},
                {"step": 4, "kind": "unreadable", "real_grade": 100.0},
            ]
        ),
        FEW,
    )

    shares = {
        "solved": (0.25, 0.25),
        "some tests pass": (0.5, 0.25),
        "no test passes": (0, 0.5),
        "unreadable": (0.25, 0),
    }
    for kind, (mine, real) in shares.items():
        assert value(metrics, f"share={kind}") == mine
        assert value(metrics, f"share={kind}", REAL) == real
    assert value(metrics, "outcome_distance") == pytest.approx((0 + 0.25 + 0.5 + 0.25) / 2)


def test_a_solved_start_stays_solved() -> None:
    metrics = measure(
        steps_of(
            [
                {"step": 1, "grade": 100.0, "real_grade": 0.0},
                {"step": 2, "solved": True, "real_grade": 100.0},
                {"start": 3, "step": 1, "grade": 0.0, "real_grade": 100.0},
                {"start": 3, "step": 2, "grade": 0.0, "real_solved": True},
            ]
        ),
        FEW,
    )

    assert [value(metrics, "solved", stratum=f"step={step}") for step in (1, 2)] == [0.5, 0.5]
    assert [value(metrics, "solved", REAL, f"step={step}") for step in (1, 2)] == [0.5, 1.0]


def test_the_interval_is_that_of_resampling_students() -> None:
    # Two students, values 0 and 1, one step each: a resample has 0, 1/2 or 1 with chances 1/4, 1/2, 1/4. Ten
    # more steps of the first give the student more weight, and no more draws.
    rows = [{"student": "ada", "start": start, "grade": 0.0, "real_grade": 100.0} for start in range(2, 13)]
    rows.append({"student": "ben", "grade": 100.0, "real_grade": 100.0})

    metrics = measure(steps_of(rows), ReportConfig(resamples=4000))

    row = metrics.row(
        by_predicate=(pl.col("metric") == "grade_proximity") & (pl.col("stratum") == "overall"), named=True
    )
    assert (row["value"], row["low"], row["high"], row["n"]) == (pytest.approx(1 / 12), 0, 1, 12)


def test_a_skill_is_compared_within_each_resample() -> None:
    # Students differ much, methods by a tenth within each: paired, the skill has hardly any spread.
    rows: list[dict[str, Any]] = []
    for number in range(40):
        real = 100.0
        lacking = 20.0 + number
        rows.append({"student": f"s{number}", "method": "copy", "grade": real - lacking, "real_grade": real})
        rows.append({"student": f"s{number}", "grade": real - lacking / 2, "real_grade": real})

    metrics = measure(steps_of(rows), ReportConfig(resamples=300))

    row = metrics.row(
        by_predicate=(pl.col("metric") == "grade_proximity_skill")
        & (pl.col("method") == "sft")
        & (pl.col("stratum") == "overall"),
        named=True,
    )
    assert (row["low"], row["value"], row["high"]) == pytest.approx((0.5, 0.5, 0.5))


grades = st.sampled_from([0.0, 25.0, 50.0, 100.0])
row = st.fixed_dictionaries(
    {
        "student": st.sampled_from(["ada", "ben", "cem", "dee"]),
        "assignment": st.sampled_from(["double", "greet"]),
        "start": st.integers(2, 4),
        "step": st.integers(1, 5),
        "grade": st.none() | grades,
        "real_grade": st.none() | grades,
        "codebleu": st.floats(0, 1),
        "codebleu_corrected": st.floats(0, 1),
        "changed": st.booleans(),
    }
)


def _without_similarity_of_nothing(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        entry
        if entry["grade"] is not None and entry["real_grade"] is not None
        else entry | {"codebleu": None, "codebleu_corrected": None}
        for entry in rows
    ]


rows = st.lists(row, min_size=1, max_size=20).map(_without_similarity_of_nothing)


@settings(deadline=None, max_examples=40)
@given(rows)
def test_values_are_within_bounds_and_intervals_hold_them(rows: list[dict[str, Any]]) -> None:
    metrics = measure(steps_of(rows), FEW)

    assert metrics.schema == METRICS
    assert metrics.select("method", "metric", "stratum").is_unique().all()
    known = metrics.drop_nulls("value")
    assert (known["low"] <= known["value"]).all() and (known["value"] <= known["high"]).all()
    shares = known.filter(pl.col("metric").is_in(["coverage", *SIMILARITY, "outcome_distance", "solved"]))
    assert shares["low"].min() is None or (shares["low"].min() >= 0 and shares["high"].max() <= 1 + 1e-9)


@settings(deadline=None, max_examples=25)
@given(rows, st.randoms())
def test_the_order_of_the_steps_changes_nothing(rows: list[dict[str, Any]], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)

    assert_frame_equal(
        measure(steps_of(rows), FEW), measure(steps_of(shuffled), FEW), check_row_order=False, abs_tol=1e-9
    )


@settings(deadline=None, max_examples=25)
@given(rows)
def test_copy_has_no_skill_over_itself(rows: list[dict[str, Any]]) -> None:
    metrics = measure(steps_of([entry | {"method": "copy"} for entry in rows]), FEW)

    skills = metrics.filter(pl.col("metric").str.ends_with("_skill"))["value"].drop_nulls()
    assert (skills.abs() < 1e-9).all()


def test_the_same_seed_gives_the_same_intervals() -> None:
    rows = [{"student": f"s{n}", "grade": float(n), "real_grade": 50.0} for n in range(30)]

    assert measure(steps_of(rows), FEW).equals(measure(steps_of(rows), FEW))
    assert not measure(steps_of(rows), FEW).equals(
        measure(steps_of(rows), ReportConfig(resamples=50, seed=1))
    )

import itertools
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
from tutee_evaluator.scores import SCORES

FEW = ReportConfig(resamples=50)
Rows = list[dict[str, Any]]

_START = {"method": "sft", "dialog_id": "d", "student": "ada", "assignment": "double", "start": 2, "step": 1}


def steps_of(rows: Rows) -> pl.DataFrame:
    """STEPS, with defaults for columns that a test leaves out and columns that follow from grades.

    A row with a grade has a program; one with neither a grade nor a kind is after the rollout's end.
    """
    full = []
    for row in rows:
        row = _START | {"sample": 0, "real_grade": 0.0} | row
        for whose in ("", "real_"):
            grade = row.get(f"{whose}grade")
            if grade is not None:
                kind = "solved" if grade == 100 else "some tests pass" if grade else "no test passes"
                row = {f"{whose}code": "x", f"{whose}kind": kind} | row
            row.setdefault(f"{whose}solves", grade == 100)
        if row.get("grade") is not None:
            row.setdefault("proximity", 1 - abs(row["grade"] - row["real_grade"]) / 100)
            row.setdefault("codebleu", 0.5)
            row.setdefault("codebleu_corrected", 0.25)
        row.setdefault("at_risk", row.get("kind") is not None)
        full.append(row)
    return pl.DataFrame(full, schema=STEPS)


def scores_of(rows: Rows) -> pl.DataFrame:
    """SCORES, with defaults for columns that a test leaves out."""
    return pl.DataFrame([_START | {"n": 2} | row for row in rows], schema=SCORES)


def measured(rows: Rows, scores: Rows | None = None, config: ReportConfig = FEW) -> pl.DataFrame:
    """METRICS of rows of STEPS and SCORES."""
    return measure(steps_of(rows), scores_of(scores or []), config)


def value(metrics: pl.DataFrame, metric: str, method: str = "sft", stratum: str = "overall") -> float | None:
    return _row(metrics, metric, method, stratum)["value"]


def _row(metrics: pl.DataFrame, metric: str, method: str = "sft", stratum: str = "overall") -> dict[str, Any]:
    return metrics.filter(metric=metric, method=method, stratum=stratum).row(0, named=True)


def test_unreadable_and_repaired_turns_are_counted_out_of_all_that_were_written() -> None:
    metrics = measured(
        [
            {"step": 1, "grade": 0.0, "repair": "no fence"},
            {"step": 2, "grade": 50.0, "repair": "no fence, a thought before the turn"},
            {"step": 3, "kind": "gave up"},
            {"student": "ben", "kind": "unreadable"},
            {"student": "ben", "step": 2},  # the rollout was over
        ]
    )

    assert value(metrics, "unreadable") == 1 / 4
    assert value(metrics, "repaired") == 2 / 4


def test_coverage_counts_steps_with_a_program_out_of_all() -> None:
    metrics = measured(
        [
            {"step": 1, "grade": 0.0},
            {"step": 2, "grade": 100.0},
            {"step": 3},  # the rollout was over
            {"student": "ben", "kind": "unreadable"},
            {"student": "cem", "kind": "gave up"},
        ]
    )

    assert value(metrics, "coverage") == 2 / 5


def test_the_headline_weighs_steps_alike_and_the_pooled_mean_programs() -> None:
    metrics = measured(
        [
            {"step": 1, "grade": 25.0, "real_grade": 50.0},  # 0.75
            {"student": "ben", "grade": 0.0, "real_grade": 90.0},  # 0.1
            {"step": 2, "grade": 100.0, "real_grade": 100.0},  # 1
            {"step": 3, "real_grade": 100.0},  # no program: the step does not count
        ]
    )

    assert value(metrics, "grade_proximity") == pytest.approx(((0.75 + 0.1) / 2 + 1) / 2)
    assert value(metrics, "grade_proximity_pooled") == pytest.approx((0.75 + 0.1 + 1) / 3)
    assert value(metrics, "codebleu") == value(metrics, "codebleu_pooled") == 0.5
    assert value(metrics, "codebleu_corrected") == value(metrics, "codebleu_corrected_pooled") == 0.25


def test_published_figures_are_of_the_likeliest_turns_and_outcomes_of_the_drawn_ones() -> None:
    metrics = measured(
        [
            {"sample": 0, "grade": 20.0},
            {"sample": 1, "grade": 40.0},
            {"sample": 2, "grade": 60.0},
            {"method": "other", "grade": 30.0},  # without drawn samples
        ]
    )

    assert value(metrics, "grade_proximity") == pytest.approx(0.8)
    assert value(metrics, "grade") == 50
    assert value(metrics, "grade", "other") == 30


def test_strata_hold_the_steps_they_name() -> None:
    metrics = measured(
        [
            {"step": 1, "grade": 50.0, "changed": True, "real_solved": True},  # 0.5
            {"step": 2, "grade": 0.0, "changed": False, "real_solved": True},  # 1
            {"start": 5, "assignment": "greet", "grade": 80.0, "changed": True},  # 0.2
            {"start": 6, "assignment": "greet", "grade": 90.0, "real_solved": False},  # 0.1
            {"start": 10, "assignment": "greet", "grade": 70.0, "real_solved": False},  # 0.3
            {"start": 11, "assignment": "greet", "grade": 60.0, "real_solved": False},  # 0.4
        ]
    )

    found = metrics.filter(metric="grade_proximity_pooled")
    assert dict(found.select("stratum", "value").rows()) == pytest.approx(
        {
            "overall": 2.5 / 6,
            "changed": 0.35,
            "assignment=double": 0.75,
            "assignment=greet": 0.25,
            "step=1": 0.3,
            "step=2": 1.0,
            "start=2": 0.75,
            "start=5": 0.2,
            "start=6-10": 0.2,
            "start=11+": 0.4,
            "student=solved": 0.75,
            "student=unsolved": 0.25,
        }
    )


def test_degradation_is_the_mean_change_from_step_1() -> None:
    metrics = measured(
        [
            {"step": 1, "grade": 10.0},  # 0.9
            {"step": 1, "start": 3, "grade": 30.0},  # 0.7: step 1 has 0.8
            {"step": 2, "grade": 40.0},  # 0.6: -0.2
            {"step": 2, "start": 3},
            {"step": 3, "grade": 50.0},  # 0.5: -0.3
        ]
    )

    assert value(metrics, "grade_proximity_degradation") == pytest.approx((-0.2 - 0.3) / 2)
    assert value(metrics, "coverage_degradation") == pytest.approx((-1 / 2 + 0) / 2)
    assert value(metrics, "codebleu_degradation") == 0


def test_there_is_no_degradation_within_a_step() -> None:
    metrics = measured([{"step": 1, "grade": 10.0}, {"step": 2, "grade": 40.0}])

    strata = metrics.filter(metric="grade_proximity_degradation")["stratum"]
    assert not strata.str.starts_with("step=").any()


def test_skill_is_the_share_of_copys_deficit_that_is_removed() -> None:
    metrics = measured(
        [
            {"grade": 80.0, "real_grade": 100.0, "codebleu": 0.4},
            {"method": "copy", "grade": 60.0, "real_grade": 100.0, "codebleu": 0.6},
        ]
    )

    assert value(metrics, "grade_proximity_skill") == pytest.approx((0.8 - 0.6) / 0.4)
    assert value(metrics, "codebleu_skill") == pytest.approx((0.4 - 0.6) / 0.4)
    assert value(metrics, "grade_proximity_skill", "copy") == 0


def test_skill_over_a_perfect_copy_is_not_defined() -> None:
    same = {"grade": 80.0, "real_grade": 80.0}

    assert value(measured([same, same | {"method": "copy"}]), "grade_proximity_skill") is None


def test_outcomes_are_compared_with_the_students_own() -> None:
    metrics = measured(
        [
            {"step": 1, "grade": 100.0, "real_grade": 0.0},
            {"step": 2, "grade": 50.0, "real_grade": 0.0},
            {"step": 3, "grade": 50.0, "real_grade": 50.0},
            {"step": 4, "kind": "gave up", "real_grade": 100.0},
        ]
    )

    shares = {
        "solved": (0.25, 0.25),
        "some tests pass": (0.5, 0.25),
        "no test passes": (0, 0.5),
        "gave up": (0.25, 0),
    }
    for kind, (mine, real) in shares.items():
        assert value(metrics, f"share={kind}") == mine
        assert value(metrics, f"share={kind}", REAL) == real
    assert value(metrics, "outcome_distance") == pytest.approx((0 + 0.25 + 0.5 + 0.25) / 2)


def test_grades_are_means_over_the_steps_with_a_program() -> None:
    metrics = measured(
        [
            {"grade": 25.0, "real_grade": 50.0},
            {"step": 2, "grade": 100.0, "real_grade": 90.0},
            {"step": 3, "real_grade": 100.0},
        ]
    )

    assert (value(metrics, "grade"), value(metrics, "real_grade")) == (62.5, 70)


def test_the_share_solved_is_that_of_kaplan_and_meier() -> None:
    metrics = measured(
        [
            # Step 1: four pairs at risk; one rollout solves, and another start's student.
            {"start": 2, "step": 1, "grade": 100.0, "assignment": "greet"},
            {"start": 3, "step": 1, "grade": 0.0, "real_grade": 100.0},
            {"start": 4, "step": 1, "grade": 0.0},
            {"start": 5, "step": 1, "grade": 0.0},
            # Step 2: the first rollout is over; of the two pairs left, one rollout solves, and no student.
            {"start": 2, "step": 2, "real_grade": 100.0, "assignment": "greet"},
            {"start": 4, "step": 2, "grade": 100.0},
            {"start": 5, "step": 2, "grade": 0.0},
            # Step 3: nobody solves.
            {"start": 5, "step": 3, "grade": 0.0},
            # The student had solved the task before the start.
            {"start": 6, "step": 1, "grade": 100.0, "real_grade": 100.0, "at_risk": False},
        ]
    )

    steps = [f"step={step}" for step in (1, 2, 3)]
    solved = [1 / 4, 1 - 3 / 4 * 1 / 2, 1 - 3 / 4 * 1 / 2]
    assert [value(metrics, "solved", stratum=step) for step in steps] == solved
    assert [value(metrics, "real_solved", stratum=step) for step in steps] == [1 / 4] * 3
    assert (value(metrics, "solved"), value(metrics, "real_solved")) == (solved[-1], 1 / 4)
    assert value(metrics, "solved_distance") == pytest.approx((0 + 3 / 8 + 3 / 8) / 3)


def test_the_share_solved_stays_where_no_pair_is_left_at_risk() -> None:
    metrics = measured(
        [{"step": 1, "grade": 100.0}, {"step": 2}, {"start": 3, "step": 1, "kind": "unreadable"}]
    )

    assert value(metrics, "solved", stratum="step=1") == value(metrics, "solved", stratum="step=2") == 1 / 2


def test_a_method_that_solves_as_the_students_do_has_their_share_solved() -> None:
    # Students and rollouts solve at step 1, 2, 3, or later, and independently of each other. A student who
    # solves stops, and so does the rollout.
    rows: Rows = []
    for start, (mine, real) in enumerate(itertools.product([1, 2, 2, 3, 9], repeat=2)):
        for step in range(1, min(real, 3) + 1):
            grades = {"real_grade": 100.0 if step == real else 0.0}
            if step <= mine:
                grades["grade"] = 100.0 if step == mine else 0.0
            rows.append({"start": start, "step": step, **grades})

    metrics = measured(rows)

    for step, share in ((1, 1 / 5), (2, 3 / 5), (3, 4 / 5)):
        for metric in ("solved", "real_solved"):
            assert value(metrics, metric, stratum=f"step={step}") == pytest.approx(share)
    assert value(metrics, "solved_distance") == pytest.approx(0)


def test_scores_are_means_over_the_steps_that_have_them() -> None:
    metrics = measured(
        [{"grade": 0.0}],
        [
            {"crps": 0.2, "energy": 0.4, "energy_tokens": 0.6, "grade_hit": 0.5, "grade_among": 1.0},
            {"step": 2, "crps": 0.4, "energy": 0.5, "energy_tokens": 0.8, "grade_hit": 0, "grade_among": 0},
            {"start": 3, "n": 1, "grade_hit": 0.0, "grade_among": 0.0},
        ],
    )

    assert value(metrics, "crps") == pytest.approx(0.3)
    assert value(metrics, "energy") == pytest.approx(0.45)
    assert value(metrics, "energy_tokens") == pytest.approx(0.7)
    assert value(metrics, "grade_hit") == pytest.approx(0.5 / 3)
    assert value(metrics, "grade_among") == pytest.approx(1 / 3)
    assert value(metrics, "crps", stratum="step=2") == pytest.approx(0.4)
    assert (_row(metrics, "crps")["n"], _row(metrics, "grade_hit")["n"]) == (2, 3)


def test_skill_in_a_score_is_over_each_baseline_that_there_is() -> None:
    scores = [{"crps": 0.3}, {"method": "copy", "crps": 0.4}, {"method": "mix", "crps": 0.2}]

    metrics = measured([{"grade": 0.0}], scores)

    assert value(metrics, "crps_skill_over_copy") == pytest.approx(1 - 0.3 / 0.4)
    assert value(metrics, "crps_skill_over_mix") == pytest.approx(1 - 0.3 / 0.2)
    assert value(metrics, "crps_skill_over_mix", "mix") == 0
    assert metrics.filter(metric="crps_skill_over_nearest").is_empty()


def test_skill_over_a_baseline_that_scores_0_is_not_defined() -> None:
    metrics = measured([{"grade": 0.0}], [{"energy": 0.3}, {"method": "copy", "energy": 0.0}])

    assert value(metrics, "energy_skill_over_copy") is None


def test_a_method_without_samples_has_no_scores() -> None:
    metrics = measured([{"grade": 0.0}, {"method": "copy", "grade": 0.0}], [{"crps": 0.3}])

    assert metrics.filter(metric="crps")["method"].unique().to_list() == ["sft"]
    assert metrics.filter(metric="crps_skill_over_copy").is_empty()


def test_the_interval_is_that_of_resampling_students() -> None:
    # Two students, values 0 and 1, one step each: a resample has 0, 1/2 or 1 with chances 1/4, 1/2, 1/4. Ten
    # more steps of the first give the student more weight, and no more draws.
    rows: Rows = [{"start": start, "grade": 0.0, "real_grade": 100.0} for start in range(2, 13)]
    rows.append({"student": "ben", "grade": 100.0, "real_grade": 100.0})

    row = _row(measured(rows, config=ReportConfig(resamples=4000)), "grade_proximity")

    assert (row["value"], row["low"], row["high"], row["n"]) == (pytest.approx(1 / 12), 0, 1, 12)


def test_a_skill_is_compared_within_each_resample() -> None:
    # Students differ much, methods by half within each: paired, the skills have no spread.
    rows, scores = [], []
    for number in range(40):
        student, lacking = f"s{number}", 20.0 + number
        for method, share in (("copy", 1), ("sft", 1 / 2)):
            whose = {"student": student, "method": method}
            rows.append(whose | {"grade": 100 - lacking * share, "real_grade": 100.0})
            scores.append(whose | {"crps": lacking * share})

    metrics = measured(rows, scores, ReportConfig(resamples=300))

    for metric in ("grade_proximity_skill", "crps_skill_over_copy"):
        row = _row(metrics, metric)
        assert (row["low"], row["value"], row["high"]) == pytest.approx((0.5, 0.5, 0.5))


grades = st.sampled_from([0.0, 25.0, 50.0, 100.0])
row = st.fixed_dictionaries(
    {
        "student": st.sampled_from(["ada", "ben", "cem", "dee"]),
        "assignment": st.sampled_from(["double", "greet"]),
        "start": st.integers(2, 12),
        "step": st.integers(1, 5),
        "sample": st.integers(0, 2),
        "grade": st.none() | grades,
        "real_grade": grades,
        "real_solved": st.booleans(),
        "codebleu": st.floats(0, 1),
        "codebleu_corrected": st.floats(0, 1),
        "changed": st.booleans(),
    }
)


def _without_similarity_of_nothing(rows: Rows) -> Rows:
    none = {"codebleu": None, "codebleu_corrected": None}
    return [entry if entry["grade"] is not None else entry | none for entry in rows]


rows = st.lists(row, min_size=1, max_size=20).map(_without_similarity_of_nothing)


@settings(deadline=None, max_examples=20)
@given(rows)
def test_values_are_within_bounds_and_intervals_hold_them(rows: Rows) -> None:
    metrics = measured(rows)

    assert metrics.schema == METRICS
    assert metrics.select("method", "metric", "stratum").is_unique().all()
    known = metrics.drop_nulls("value")
    assert (known["low"] <= known["value"]).all() and (known["value"] <= known["high"]).all()
    shares = ["coverage", *SIMILARITY, "outcome_distance", "solved", "real_solved", "solved_distance"]
    shares += ["transition_distance", "attempts_distance", "resubmission", "real_resubmission"]
    known = known.filter(pl.col("metric").is_in(shares))
    assert known["low"].min() is None or (known["low"].min() >= 0 and known["high"].max() <= 1 + 1e-9)


@settings(deadline=None, max_examples=10)
@given(rows, st.randoms())
def test_the_order_of_the_steps_changes_nothing(rows: Rows, random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)

    assert_frame_equal(measured(rows), measured(shuffled), check_row_order=False, abs_tol=1e-9)


@settings(deadline=None, max_examples=12)
@given(rows)
def test_copy_has_no_skill_over_itself(rows: Rows) -> None:
    metrics = measured([entry | {"method": "copy"} for entry in rows])

    skills = metrics.filter(pl.col("metric").str.ends_with("_skill"))["value"].drop_nulls()
    assert (skills.abs() < 1e-9).all()


def test_the_same_seed_gives_the_same_intervals() -> None:
    rows = [{"student": f"s{n}", "grade": float(n), "real_grade": 50.0} for n in range(30)]

    assert measured(rows).equals(measured(rows))
    assert not measured(rows).equals(measured(rows, config=ReportConfig(resamples=50, seed=1)))


def test_a_difference_is_paired_by_student() -> None:
    """Students differ much and methods by 10 each time, so a difference is sure though the means are not."""
    rows = [
        {"method": method, "student": student, "grade": grade + better, "dialog_id": student}
        for student, grade in (("ada", 0.0), ("bob", 40.0), ("eve", 80.0))
        for method, better in (("dpo", 0.0), ("sft", 10.0))
    ]
    metrics = measure(steps_of(rows), scores_of([]), FEW, reference="sft")

    mine = _row(metrics, "grade_proximity_minus_sft", "dpo")
    assert (mine["value"], mine["low"], mine["high"]) == pytest.approx((0.1, 0.1, 0.1))
    assert value(metrics, "grade_proximity_minus_sft", "sft") == 0
    mean = _row(metrics, "grade_proximity", "dpo")
    assert mean["high"] - mean["low"] > 0.2


def test_without_a_reference_there_are_no_differences() -> None:
    metrics = measured([{"grade": 0.0}, {"method": "dpo", "grade": 0.0}])
    assert not metrics.filter(pl.col("metric").str.contains("_minus_")).height

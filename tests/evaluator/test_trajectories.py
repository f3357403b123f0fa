import itertools
from typing import Any

import polars as pl
import pytest

from tutee_evaluator.metrics import ReportConfig, measure
from tutee_evaluator.metrics.trajectories import BINS, EDITS, bin_of
from tutee_evaluator.pairing import STEPS
from tutee_evaluator.scores import SCORES

Rows = list[dict[str, Any]]
Turn = tuple[str, float] | str  # a program and its grade, or the kind of a turn without one

A, B, C = "a = 1\n", "b = 1\nb = 1\nb = 1\n", "c = 1\n"


def rollout(mine: list[Turn], real: list[tuple[str, float]], **columns: Any) -> Rows:
    """The rows of STEPS of a rollout; the program before is A, of grade 50."""
    rows = []
    solved = False
    for step, (turn, (code, grade)) in enumerate(itertools.zip_longest(mine, real), 1):
        row = {"method": "sft", "student": "ada", "assignment": "double", "start": 2, "sample": 1}
        row |= {"dialog_id": "d", "before": A, "before_grade": 50.0, "step": step} | columns
        row |= {"real_code": code, "real_grade": grade, "real_kind": "kind", "real_solves": grade == 100}
        if isinstance(turn, tuple):
            row |= {"code": turn[0], "grade": turn[1], "kind": "kind"}
        else:
            row |= {"kind": turn}
        row["solves"] = row.get("grade") == 100
        row["at_risk"] = turn is not None and not solved
        solved |= grade == 100
        rows.append(row)
    return rows


def table(rows: Rows) -> pl.DataFrame:
    return measure(pl.DataFrame(rows, STEPS), pl.DataFrame(schema=SCORES), ReportConfig(resamples=10))


def measured(rows: Rows, stratum: str = "overall") -> dict[str, float]:
    """The value of each metric that is not 0."""
    metrics = table(rows).filter(pl.col("value") != 0, stratum=stratum)
    return dict(metrics.select("metric", "value").rows())


def shares(values: dict[str, float], name: str) -> dict[str, float]:
    """The shares of a distribution's values, of those that are not 0."""
    return {
        key.removeprefix(name + "="): value for key, value in values.items() if key.startswith(name + "=")
    }


def test_a_transition_is_from_the_submission_before_it() -> None:
    values = measured(
        [
            *rollout(
                [("x", 50.0), ("y", 75.0), ("z", 25.0), ("z", 100.0)], [("x", 60.0)] * 3 + [("x", 100.0)]
            ),
            *rollout(["unreadable"], [("x", 40.0)], start=3),
            *rollout([("x", 50.0), "gave up"], [("x", 50.0), ("y", 60.0)], start=4),
        ]
    )

    assert shares(values, "transition") == pytest.approx(
        {
            "same": 2 / 7,
            "better": 1 / 7,
            "worse": 1 / 7,
            "solved": 1 / 7,
            "unreadable": 1 / 7,
            "gave up": 1 / 7,
        }
    )
    assert shares(values, "real_transition") == pytest.approx(
        {"better": 2 / 7, "same": 3 / 7, "solved": 1 / 7, "worse": 1 / 7}
    )
    assert values["transition_distance"] == pytest.approx((1 + 1 + 1 + 1) / 7 / 2)


def test_samples_and_starts_are_trajectories_of_their_own() -> None:
    values = measured(
        [
            *rollout([("x", 20.0), ("y", 30.0)], [("x", 0.0)] * 2, sample=1),
            *rollout([("x", 80.0), ("y", 70.0)], [("x", 0.0)] * 2, sample=2),
            *rollout([("x", 0.0), ("y", 10.0)], [("x", 0.0)] * 2, start=3),
        ]
    )

    assert shares(values, "transition") == pytest.approx({"worse": 3 / 6, "better": 3 / 6})


def test_steps_after_either_has_come_to_an_end_are_not_compared() -> None:
    values = measured(
        [
            *rollout([("x", 100.0)], [("x", 50.0), ("y", 0.0), ("z", 100.0)]),
            *rollout([("x", 50.0), ("x", 75.0)], [("x", 100.0), ("x", 0.0)], start=3),
        ]
    )

    assert shares(values, "transition") == {"solved": 0.5, "same": 0.5}
    assert shares(values, "real_transition") == {"solved": 0.5, "same": 0.5}


def test_edits_are_from_the_program_before_in_bins() -> None:
    values = measured(rollout([(A, 0.0), (B, 0.0), (C, 0.0)], [(B, 0.0), (B, 0.0), (B, 0.0)]))

    # A to A, A to B (a line goes, three come), B to C the other way; the real ones A to B, and B twice more.
    assert shares(values, "edit_lines") == pytest.approx({"0": 1 / 3, "3-4": 2 / 3})
    assert shares(values, "real_edit_lines") == pytest.approx({"3-4": 1 / 3, "0": 2 / 3})
    # From `a = 1` to three times `b = 1`, or back: one token is replaced, six come or go.
    assert shares(values, "edit_tokens") == pytest.approx({"0": 1 / 3, "5-8": 2 / 3})
    # Three names, three assignments, two more numbers, and the module.
    assert shares(values, "edit_tree") == pytest.approx({"0": 1 / 3, "9-16": 2 / 3})


def test_the_distance_of_edits_says_by_how_many_bins_they_differ() -> None:
    one, two = A + "b = 1\n", A + "b = 1\nc = 1\n"
    near = [*rollout([(two, 0.0)], [(one, 0.0)]), *rollout([(one, 0.0)], [(A, 0.0)], start=3)]

    # Lines 2 and 1 against 1 and 0; then 3, in the fourth bin, against 0.
    assert measured(near)["edit_lines_distance"] == pytest.approx(1)
    assert measured(rollout([(two + "d = 1\n", 0.0)], [(A, 0.0)]))["edit_lines_distance"] == 3


def test_edits_of_programs_that_are_not_python_have_no_tree() -> None:
    rows = rollout([("if", 0.0), (A, 0.0), (A, 0.0)], [(A, 0.0)] * 3)

    n = dict(table(rows).filter(stratum="overall").select("metric", "n").rows())
    assert (n["edit_lines=0"], n["edit_tree=0"], n["real_edit_tree=0"]) == (3, 1, 3)


def test_blanks_at_the_ends_of_lines_are_no_change() -> None:
    values = measured(rollout([(A.rstrip(), 0.0), ("a = 1 \r\n\n", 0.0)], [("b = 1", 0.0), ("b = 1\n", 0.0)]))

    assert (values["resubmission"], values["real_resubmission"]) == (1, 0.5)
    assert shares(values, "edit_lines") == {"0": 1}


def test_backtracking_is_to_an_earlier_program_that_is_not_the_last() -> None:
    values = measured(
        [
            *rollout([(B, 0.0), (A, 0.0), (A, 0.0), (B, 0.0), (C, 0.0)], [(A, 0.0)] * 5),
            *rollout([(A, 0.0)], [(B, 0.0)], start=3),
            *rollout([(C, 0.0), (B, 0.0)], [(B, 0.0), (A, 0.0)], start=4),
        ]
    )

    # Of the steps from the second on: back to the one before the start, the same, back to B, new; new.
    assert values["backtracking"] == pytest.approx(2 / 5)
    assert values["resubmission"] == pytest.approx((1 + 1) / 8)
    assert values["real_backtracking"] == pytest.approx(1 / 5)
    assert values["real_resubmission"] == pytest.approx(5 / 8)


@pytest.mark.parametrize(
    ("size", "name"),
    [(0, "0"), (1, "1"), (2, "2"), (3, "3-4"), (4, "3-4"), (5, "5-8"), (16, "9-16"), (17, "17+")],
)
def test_a_bin_holds_the_sizes_that_it_names(size: int, name: str) -> None:
    assert bin_of(size) == name


def test_attempts_to_solve_are_those_of_each_start_though_both_are_cut() -> None:
    # Attempts 1, 2, 2, 3, 9 of either, in all combinations: a trajectory ends where either solves the task.
    rows: Rows = []
    for start, (mine, real) in enumerate(itertools.product([1, 2, 2, 3, 9], [1, 1, 2, 3, 9])):
        steps = range(1, min(real, 3) + 1)
        turns: list[Turn] = [("x", 100.0 if step == mine else 0.0) for step in steps if step <= mine]
        rows += rollout(turns, [("x", 100.0 if step == real else 0.0) for step in steps], start=start)

    values = measured(rows)

    assert shares(values, "attempts_to_solve") == pytest.approx({"1": 1 / 5, "2": 2 / 5, "3": 1 / 5})
    assert shares(values, "real_attempts_to_solve") == pytest.approx({"1": 2 / 5, "2": 1 / 5, "3": 1 / 5})
    assert values["attempts_distance"] == pytest.approx((1 / 5 + 1 / 5) / 2)


def test_those_who_do_not_solve_the_task_count_in_the_distance_of_attempts() -> None:
    rows = rollout([("x", 100.0)], [("x", 0.0)]) + rollout([("x", 0.0)], [("x", 0.0)], start=3)

    assert measured(rows)["attempts_distance"] == 1 / 2


def test_a_method_that_does_as_the_students_do_is_at_distance_0() -> None:
    turns = [(B, 20.0), (A, 50.0), ("if", 0.0), (C, 100.0)]
    metrics = table([*rollout(list(turns), turns), *rollout([("x", 50.0)], [("x", 50.0)], start=3)])

    names = ["transition_distance", "attempts_distance", *(f"{name}_distance" for name in EDITS)]
    found = metrics.filter(pl.col("metric").is_in(names))
    assert found["metric"].n_unique() == len(names)
    assert found["value"].abs().max() < 1e-9


def test_every_bin_has_its_share() -> None:
    metrics = table(rollout([(A, 0.0)], [(A, 0.0)]))["metric"]

    assert {f"{whose}edit_tree={name}" for name in BINS for whose in ("", "real_")} <= set(metrics)

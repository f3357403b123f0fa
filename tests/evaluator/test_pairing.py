from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
import pytest

from tutee_evaluator.engines.baselines import Copy
from tutee_evaluator.evaluate import evaluate
from tutee_evaluator.metrics import ReportConfig
from tutee_evaluator.pairing import STEPS, pair
from tutee_evaluator.rollout import RolloutConfig, roll_out
from tutee_grader import Assignment, Grader
from tutee_grader.errors import InputError

Rolled = Callable[..., pl.DataFrame]
Paired = Callable[..., pl.DataFrame]


@pytest.fixture
def rolled(
    dialogs_of: Callable[..., pl.DataFrame],
    submissions: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    grader: Grader,
) -> Rolled:
    def roll(method: str, engine: Any, **config: Any) -> pl.DataFrame:
        return roll_out(
            method, engine, dialogs_of(), submissions, assignments, grader, RolloutConfig(**config)
        )

    return roll


@pytest.fixture
def paired(
    dialogs_of: Callable[..., pl.DataFrame], submissions: pl.DataFrame, verdicts: pl.DataFrame
) -> Paired:
    def pair_up(*rollouts: pl.DataFrame) -> pl.DataFrame:
        return pair(pl.concat(rollouts), dialogs_of(), submissions, verdicts)

    return pair_up


def _of(steps: pl.DataFrame, student: str, assignment: str, start: int) -> pl.DataFrame:
    return steps.filter(student=student, assignment=assignment, start=start).sort("step")


def test_each_step_is_paired_with_the_students_own(
    rolled: Rolled, paired: Paired, submissions: pl.DataFrame
) -> None:
    steps = paired(rolled("copy", Copy("edits", "summary")))

    codes = dict(submissions.select("submission_id", "code").iter_rows())
    ada = _of(steps, "ada", "double", 2)
    assert ada["before"].to_list() == [codes["ada/double/1"]] * 5
    assert ada["code"].to_list() == [codes["ada/double/1"]] * 5
    assert ada["real_code"].to_list() == [*(codes[f"ada/double/{n}"] for n in (2, 3, 4)), None, None]
    # No colon: nothing runs. n * n doubles 2 only; n + 2 doubles 2 only; then all three tests pass.
    thirds = pytest.approx([100 / 3, 100 / 3, 100])
    assert ada["real_grade"].drop_nulls().to_list() == thirds
    assert ada["real_solved"].to_list() == [False, False, True, True, True]
    assert ada["changed"].to_list() == [True, False, True, None, None]
    assert ada["kind"].to_list() == ["does not compile"] * 5
    assert ada["real_kind"].to_list() == ["some tests pass"] * 2 + ["solved", None, None]
    assert ada["proximity"].drop_nulls().to_list() == pytest.approx([2 / 3, 2 / 3, 0])


def test_copy_covers_every_step_of_students_whose_dialogs_end_at_full_marks(
    rolled: Rolled,
    paired: Paired,
    dialogs_of: Callable[..., pl.DataFrame],
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
) -> None:
    rollouts = rolled("copy", Copy("edits", "summary"))

    steps, metrics = evaluate(rollouts, dialogs_of(), submissions, verdicts, ReportConfig(resamples=20))

    assert steps.equals(paired(rollouts))
    coverage = metrics.filter(metric="coverage")
    assert set(coverage["value"]) == {1.0} and set(coverage["low"]) == {1.0}


def test_a_failure_is_familiar_where_a_student_failed_the_same_tests(
    rolled: Rolled, paired: Paired, scripted: Any
) -> None:
    # 2 * n fails for -1 only, which no student's program does; n + 2 passes for 2 only, as ben's does.
    unfamiliar = "def double(n):\n    return 2 * abs(n)\n"
    same_tests = "def double(n):\n    return n + 2 + 0\n"

    def script(dialog: Any, step: int) -> str:
        return same_tests if step == 1 else unfamiliar

    steps = paired(rolled("sft", scripted(script), steps=2)).filter(assignment="double")

    assert set(steps.filter(step=1)["familiar"]) == {True}
    assert set(steps.filter(step=2)["familiar"]) == {False}


def test_full_marks_are_not_a_failure(rolled: Rolled, paired: Paired, scripted: Any) -> None:
    right = "def double(n):\n    return n + n\n"

    steps = paired(rolled("sft", scripted(lambda dialog, step: right))).filter(assignment="double")

    assert steps["familiar"].null_count() == steps.height
    assert set(steps["solved"]) == {True}


def test_an_unreadable_turn_is_a_kind_of_its_own(rolled: Rolled, paired: Paired, scripted: Any) -> None:
    steps = paired(rolled("sft", scripted(lambda dialog, step: None)))

    assert set(steps.filter(step=1)["kind"]) == {"unreadable"}
    assert set(steps.filter(pl.col("step") > 1)["kind"]) == {None}
    assert steps["proximity"].null_count() == steps["codebleu"].null_count() == steps.height


def test_the_table_has_its_schema_and_a_row_for_each_step(rolled: Rolled, paired: Paired) -> None:
    steps = paired(rolled("copy", Copy("edits", "summary")), rolled("para", Copy("edits", "none")))

    assert steps.schema == STEPS
    assert steps.height == 2 * 10 * 5


def test_methods_with_other_starts_are_not_compared(rolled: Rolled, paired: Paired) -> None:
    copy = rolled("copy", Copy("edits", "summary"))
    fewer = rolled("sft", Copy("edits", "summary"), max_starts=3)

    with pytest.raises(InputError, match="run `tutee rollout` for every method"):
        paired(copy, fewer)

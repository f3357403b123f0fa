from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tutee_evaluator import evaluate as module
from tutee_evaluator.evaluate import evaluate
from tutee_evaluator.metrics import ReportConfig
from tutee_evaluator.pairing import STEPS, pair
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.rollout.run import roll_out
from tutee_evaluator.scores import score
from tutee_grader import Assignment, Grader
from tutee_grader.errors import InputError
from tutee_serializer.dialogs.dialog import Dialog

Script = Callable[[Dialog, int], str | None]
Rolled = Callable[..., pl.DataFrame]
Paired = Callable[..., pl.DataFrame]

TWICE = "def double(n):\n    return n + n\n"


@pytest.fixture
def rolled(
    dialogs_of: Callable[..., pl.DataFrame],
    submissions: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    grader: Grader,
    scripted: Any,
    tmp_path: Path,
) -> Rolled:
    def roll(method: str, script: Script, scope: str = "assignment", **config: Any) -> pl.DataFrame:
        """The rollouts of an engine that writes what `script` returns, without drawn samples."""
        dialogs, settings = dialogs_of(scope=scope), RolloutConfig(**{"samples": 0, **config})
        arguments = (dialogs, submissions, assignments, grader, settings, tmp_path / f"{method}.parquet")
        return roll_out(method, lambda: scripted(script), *arguments).collect()

    return roll


@pytest.fixture
def paired(
    dialogs_of: Callable[..., pl.DataFrame], submissions: pl.DataFrame, verdicts: pl.DataFrame
) -> Paired:
    def pair_up(*rollouts: pl.DataFrame, scope: str = "assignment") -> pl.DataFrame:
        return pair(pl.concat(rollouts), dialogs_of(scope=scope), submissions, verdicts)

    return pair_up


def copy(dialog: Dialog, step: int) -> str | None:
    return dialog.previous


def _of(steps: pl.DataFrame, student: str, assignment: str, start: int) -> pl.DataFrame:
    return steps.filter(student=student, assignment=assignment, start=start).sort("step")


def test_each_step_is_paired_with_the_students_own(
    rolled: Rolled, paired: Paired, submissions: pl.DataFrame
) -> None:
    steps = paired(rolled("copy", copy))

    codes = dict(submissions.select("submission_id", "code").iter_rows())
    ada = _of(steps, "ada", "double", 2)
    assert ada["before"].to_list() == [codes["ada/double/1"]] * 3
    assert ada["code"].to_list() == [codes["ada/double/1"]] * 3
    assert ada["real_code"].to_list() == [codes[f"ada/double/{n}"] for n in (2, 3, 4)]
    # No colon: nothing runs. n * n doubles 2 only; n + 2 doubles 2 only; then all three tests pass.
    assert ada["real_grade"].to_list() == pytest.approx([100 / 3, 100 / 3, 100])
    assert ada["changed"].to_list() == [True, False, True]
    assert ada["kind"].to_list() == ["does not compile"] * 3
    assert ada["before_grade"].to_list() == [0] * 3
    assert ada["error"].to_list() == ["does not compile"] * 3
    assert ada["real_error"].to_list() == ["wrong result"] * 2 + [None]
    assert ada["failed"].to_list() == [["double(2)", "double(3)", "double(-1)"]] * 3
    assert ada["real_failed"].to_list() == [["double(3)", "double(-1)"]] * 2 + [[]]
    assert ada["real_kind"].to_list() == ["some tests pass"] * 2 + ["solved"]
    assert ada["real_solves"].to_list() == [False, False, True]
    assert ada["proximity"].to_list() == pytest.approx([2 / 3, 2 / 3, 0])


def test_copy_covers_every_step(
    rolled: Rolled,
    paired: Paired,
    dialogs_of: Callable[..., pl.DataFrame],
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
) -> None:
    rollouts = rolled("copy", copy)

    steps, _, metrics = evaluate(rollouts, dialogs_of(), submissions, verdicts, ReportConfig(resamples=20))

    assert steps.equals(paired(rollouts))
    coverage = metrics.filter(metric="coverage")
    assert set(coverage["value"]) == {1.0} and set(coverage["low"]) == {1.0}


def test_a_failure_is_familiar_where_a_student_failed_the_same_tests(rolled: Rolled, paired: Paired) -> None:
    # 2 * n fails for -1 only, which no student's program does; n + 2 passes for 2 only, as ben's does.
    unfamiliar = "def double(n):\n    return 2 * abs(n)\n"
    same_tests = "def double(n):\n    return n + 2 + 0\n"

    def script(dialog: Dialog, step: int) -> str:
        return same_tests if step == 1 else unfamiliar

    steps = paired(rolled("sft", script, steps=2)).filter(assignment="double")

    assert set(steps.filter(step=1)["familiar"]) == {True}
    assert set(steps.filter(step=2)["familiar"]) == {False}


def test_the_grade_before_is_that_of_the_program_before(rolled: Rolled, paired: Paired) -> None:
    steps = paired(rolled("copy", copy))

    # ada's third start comes after n + 2, which doubles 2 only.
    assert _of(steps, "ada", "double", 4)["before_grade"].to_list() == pytest.approx([100 / 3])


def test_without_a_graded_program_there_is_neither_an_error_nor_a_failed_test(
    rolled: Rolled, paired: Paired
) -> None:
    for script in (lambda dialog, step: None, lambda dialog, step: "exit()\n"):
        steps = paired(rolled("sft", script))

        assert steps["error"].null_count() == steps["failed"].null_count() == steps.height
        assert steps["real_failed"].null_count() == 0


def test_full_marks_are_not_a_failure(rolled: Rolled, paired: Paired) -> None:
    steps = paired(rolled("sft", lambda dialog, step: TWICE)).filter(assignment="double")

    assert steps["familiar"].null_count() == steps.height
    assert steps["solves"].to_list() == (steps["step"] == 1).to_list()


def test_an_unreadable_turn_is_a_kind_of_its_own(rolled: Rolled, paired: Paired) -> None:
    steps = paired(rolled("sft", lambda dialog, step: None))

    assert set(steps.filter(step=1)["kind"]) == {"unreadable"}
    assert set(steps.filter(pl.col("step") > 1)["kind"]) == {None}
    assert steps["proximity"].null_count() == steps["codebleu"].null_count() == steps.height


def test_giving_up_is_a_kind_of_its_own_and_no_program(rolled: Rolled, paired: Paired) -> None:
    steps = paired(rolled("sft", lambda dialog, step: "exit()\n"))

    assert set(steps.filter(step=1)["kind"]) == {"gave up"}
    assert steps["code"].null_count() == steps["codebleu"].null_count() == steps.height


def test_the_table_has_its_schema_and_a_row_for_each_of_the_rollouts(rolled: Rolled, paired: Paired) -> None:
    rollouts = [rolled("copy", copy, samples=2), rolled("sft", lambda dialog, step: None, samples=2)]

    steps = paired(*rollouts)

    assert steps.schema == STEPS
    # ada's trajectories of 4 and 3 submissions, ben's of 3 and 2, cem's of 3; greedy and two drawn.
    assert steps.height == 2 * 3 * ((3 + 2 + 1) + (2 + 1) + (2 + 1) + 1 + (2 + 1))


def test_a_step_is_at_risk_until_the_rollout_or_the_student_has_solved_the_task(
    rolled: Rolled, paired: Paired
) -> None:
    def script(dialog: Dialog, step: int) -> str | None:
        return TWICE if step == 2 else dialog.previous

    steps = paired(rolled("sft", script))

    # ada solves double at submission 4, the third step from start 2: the rollout is over by then.
    assert _of(steps, "ada", "double", 2)["at_risk"].to_list() == [True, True, False]
    assert _of(steps, "ada", "double", 3)["at_risk"].to_list() == [True, True]


def test_a_step_after_an_unreadable_one_is_not_at_risk(rolled: Rolled, paired: Paired) -> None:
    steps = paired(rolled("sft", lambda dialog, step: None))

    assert _of(steps, "ada", "double", 2)["at_risk"].to_list() == [True, False, False]


def test_a_student_who_has_solved_the_task_before_is_not_at_risk(
    rolled: Rolled, dialogs_of: Callable[..., pl.DataFrame], submissions: pl.DataFrame, verdicts: pl.DataFrame
) -> None:
    submission = pl.element().struct.field("submission_id")
    solved = pl.col("turns").list.eval(pl.struct(submission, grade=pl.lit(100.0)))

    steps = pair(rolled("copy", copy), dialogs_of().with_columns(turns=solved), submissions, verdicts)

    assert not steps["at_risk"].any()


def test_a_student_solves_or_not_whatever_the_step(rolled: Rolled, paired: Paired) -> None:
    steps = paired(rolled("copy", copy))

    solved = steps.group_by("student", "assignment").agg(pl.col("real_solved").unique().implode())
    found = {(student, assignment): values for student, assignment, values in solved.rows()}
    assert found[("ada", "double")] == found[("ben", "greet")] == [True]
    assert found[("ben", "double")] == [False]


def test_dialogs_of_a_whole_course_keep_the_assignments_apart(rolled: Rolled, paired: Paired) -> None:
    steps = paired(rolled("copy", copy, scope="course"), scope="course").filter(student="ben")

    solved = set(steps.select("assignment", "real_solved").rows())
    assert solved == {("double", False), ("greet", True)}


def test_methods_with_other_starts_are_not_compared(rolled: Rolled, paired: Paired) -> None:
    with pytest.raises(InputError, match="run `tutee rollout` for every method"):
        paired(rolled("copy", copy), rolled("sft", copy, max_starts=3))


def test_methods_with_another_number_of_samples_are_compared(rolled: Rolled, paired: Paired) -> None:
    steps = paired(rolled("copy", copy, samples=0), rolled("sft", copy, samples=2))

    assert dict(steps.group_by("method").agg(pl.col("sample").max()).rows()) == {"copy": 0, "sft": 2}


def test_rollouts_of_other_dialogs_are_refused(
    rolled: Rolled, dialogs_of: Callable[..., pl.DataFrame], submissions: pl.DataFrame, verdicts: pl.DataFrame
) -> None:
    others = dialogs_of().filter(pl.col("student") != "ada")

    with pytest.raises(InputError, match="of other dialogs"):
        pair(rolled("copy", copy), others, submissions, verdicts)


def test_a_few_trajectories_at_a_time_give_the_same_tables_as_all_at_once(
    rolled: Rolled,
    dialogs_of: Callable[..., pl.DataFrame],
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def script(dialog: Dialog, step: int) -> str | None:
        return None if step == 3 else f"x = {len(dialog.messages)}\n" if step == 2 else TWICE[:-1]

    rollouts = pl.concat([rolled("copy", copy, samples=2), rolled("sft", script, samples=2)])
    arguments = (dialogs_of(), submissions, verdicts, ReportConfig(resamples=20))
    whole = evaluate(rollouts, *arguments)
    rollouts.sample(fraction=1, shuffle=True, seed=1).write_parquet(tmp_path / "all.parquet")
    monkeypatch.setattr(module, "ROWS_PER_PART", 1)
    sizes = []

    def counting(steps: pl.DataFrame) -> pl.DataFrame:
        sizes.append(steps["dialog_id"].n_unique())
        return score(steps)

    monkeypatch.setattr(module, "score", counting)
    parts = evaluate(pl.scan_parquet(tmp_path / "all.parquet"), *arguments)

    assert sizes == [1] * 5
    assert all(part.equals(table) for part, table in zip(parts, whole, strict=True))


def test_a_method_without_a_whole_dialog_is_not_compared(
    rolled: Rolled,
    dialogs_of: Callable[..., pl.DataFrame],
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ROWS_PER_PART", 1)
    copied, mine = rolled("copy", copy), rolled("sft", copy)
    mine = mine.filter(pl.col("dialog_id") != mine["dialog_id"].first())

    with pytest.raises(InputError, match="run `tutee rollout` for every method"):
        evaluate(pl.concat([copied, mine]), dialogs_of(), submissions, verdicts, ReportConfig())


def test_only_the_likeliest_turns_have_codebleu(rolled: Rolled, paired: Paired) -> None:
    steps = paired(rolled("copy", copy, samples=2))

    assert steps.filter(sample=0)["codebleu"].null_count() == 0
    drawn = steps.filter(pl.col("sample") > 0)
    assert drawn["codebleu"].null_count() == drawn["codebleu_corrected"].null_count() == drawn.height

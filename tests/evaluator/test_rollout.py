import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tutee_evaluator.engines.baselines import Copy
from tutee_evaluator.engines.loading import load_engine
from tutee_evaluator.rollout import RolloutConfig, draw_starts, known_verdicts, roll_out
from tutee_evaluator.schemas import ROLLOUTS
from tutee_grader import Assignment, Grader, Verdict
from tutee_grader.errors import InputError
from tutee_grader.verdict import Status
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import Format

DialogsOf = Callable[..., pl.DataFrame]
Rolled = Callable[..., pl.DataFrame]

RIGHT = {
    "double": "def double(n):\n    return n + n\n",
    "greet": "def greet(name):\n    return 'Hello, ' + name\n",
}
WRONG = "def double(n):\n    return 'no'\n"


@pytest.fixture
def rolled(
    dialogs_of: DialogsOf, submissions: pl.DataFrame, assignments: Mapping[str, Assignment], grader: Grader
) -> Rolled:
    def roll(engine: Any, dialogs: pl.DataFrame | None = None, **config: Any) -> pl.DataFrame:
        dialogs = dialogs_of() if dialogs is None else dialogs
        return roll_out("sft", engine, dialogs, submissions, assignments, grader, RolloutConfig(**config))

    return roll


def _name(dialog: Dialog) -> str:
    return "double" if "double" in dialog.messages[1]["content"] else "greet"


@pytest.mark.parametrize("format", list(Format))
@pytest.mark.parametrize("feedback", ["summary", "full", "none"])
def test_a_rollout_that_repeats_the_students_programs_has_the_students_dialog(
    format: Format,
    feedback: str,
    dialogs_of: DialogsOf,
    rolled: Rolled,
    scripted: Any,
    submissions: pl.DataFrame,
) -> None:
    dialogs = dialogs_of(format, feedback if feedback != "none" else "summary")
    mine = dialogs.filter((pl.col("split") == "test") & (pl.col("feedback") == feedback))
    codes = dict(submissions.select("submission_id", "code").iter_rows())
    following = {}
    for row in mine.iter_rows(named=True):
        places = [at for at, message in enumerate(row["messages"]) if message["role"] == "assistant"]
        for place, turn in zip(places, row["turns"], strict=True):
            following[repr(row["messages"][:place])] = codes[turn["submission_id"]]
    beyond: list[Dialog] = []

    def teacher(dialog: Dialog, step: int) -> str:
        key = repr(dialog.messages)
        if key not in following:
            beyond.append(dialog)
            return "def beyond(): pass\n"
        return following[key]

    rollouts = rolled(scripted(teacher, format, feedback), dialogs)

    paired = rollouts.filter(pl.col("submission_id").is_not_null())
    assert paired["code"].to_list() == [codes[name] for name in paired["submission_id"]]
    assert paired.height > 10
    # Only a rollout without full marks goes on after the student's last submission.
    assert len(beyond) == rollouts.filter(pl.col("submission_id").is_null()).height


def test_starts_are_the_second_submission_and_every_later_one(
    dialogs_of: DialogsOf, submissions: pl.DataFrame
) -> None:
    starts = draw_starts(dialogs_of(), submissions, RolloutConfig())

    found = sorted(starts.select("student", "assignment", "start").iter_rows())
    lengths = {("ada", "double"): 4, ("ada", "greet"): 3, ("ben", "double"): 3, ("ben", "greet"): 2}
    lengths |= {("cem", "double"): 3}
    assert found == sorted((*who, k) for who, last in lengths.items() for k in range(2, last + 1))
    ada = starts.row(
        by_predicate=(pl.col("student") == "ada")
        & (pl.col("start") == 3)
        & (pl.col("assignment") == "double"),
        named=True,
    )
    assert ada["real"] == ["ada/double/3", "ada/double/4"]


def test_every_method_gets_the_same_starts(dialogs_of: DialogsOf, submissions: pl.DataFrame) -> None:
    config = RolloutConfig(max_starts=4, seed=3)
    edits = dialogs_of("edits")

    drawn = draw_starts(edits, submissions, config)

    assert drawn.height == 4
    assert drawn.equals(draw_starts(dialogs_of("code", "full"), submissions, config))
    assert drawn.equals(
        draw_starts(edits.sample(fraction=1, shuffle=True, seed=1), submissions.reverse(), config)
    )
    assert not drawn.equals(draw_starts(edits, submissions, RolloutConfig(max_starts=4, seed=4)))


def test_a_dialog_over_assignments_starts_within_each(
    dialogs_of: DialogsOf, submissions: pl.DataFrame, rolled: Rolled
) -> None:
    dialogs = dialogs_of(scope="course")

    starts = draw_starts(dialogs, submissions, RolloutConfig())
    rollouts = rolled(Copy("edits", "summary"), dialogs)

    one_each = draw_starts(dialogs_of(), submissions, RolloutConfig())
    assert starts.height == one_each.height
    assert sorted(map(sorted, starts["real"])) == sorted(map(sorted, one_each["real"]))
    first = rollouts.filter(pl.col("step") == 1).sort("submission_id")
    previous = [
        f"{name.rsplit('/', 1)[0]}/{int(name.rsplit('/', 1)[1]) - 1}" for name in first["submission_id"]
    ]
    codes = dict(submissions.select("submission_id", "code").iter_rows())
    assert first["code"].to_list() == [codes[name] for name in previous]


def test_full_marks_end_a_rollout_and_the_students_later_steps_still_count(
    rolled: Rolled, scripted: Any
) -> None:
    rollouts = rolled(scripted(lambda dialog, step: RIGHT[_name(dialog)]))

    assert set(rollouts["stop_reason"]) == {"solved"}
    made = rollouts.filter(pl.col("outcome") == "program")
    assert set(made["step"]) == {1} and set(made["grade"]) == {100.0}
    ended = rollouts.filter(pl.col("outcome") == "ended")
    # N - k + 1 submissions are real from start k on: (3 + 2 + 1) + (2 + 1) + (2 + 1) + 1 + (2 + 1) = 16 over
    # the five trajectories, of which the first of each of the 10 starts is beside a program.
    assert ended.height == 6
    assert ended["code"].null_count() == ended.height
    assert ended["submission_id"].null_count() == 0


def test_an_unreadable_turn_ends_only_its_own_rollout(rolled: Rolled, scripted: Any) -> None:
    def script(dialog: Dialog, step: int) -> str | None:
        return None if _name(dialog) == "greet" and step == 2 else WRONG

    rollouts = rolled(scripted(script), steps=3)

    bad = rollouts.filter(pl.col("outcome") == "unreadable")
    assert set(bad["step"]) == {2} and set(bad["status"]) == {"no program in it"}
    assert bad["code"].null_count() == bad["grade"].null_count() == bad.height == 3
    by_reason = rollouts.group_by("stop_reason").agg(
        pl.struct("dialog_id", "start").n_unique().alias("rollouts")
    )
    assert dict(by_reason.iter_rows()) == {"unreadable": 3, "steps": 7}
    whole = rollouts.filter((pl.col("stop_reason") == "steps") & (pl.col("outcome") == "program"))
    assert whole.height == 7 * 3


def test_a_rollout_goes_on_after_the_student_stopped(rolled: Rolled) -> None:
    rollouts = rolled(Copy("edits", "summary"), steps=5)

    assert rollouts.height == 10 * 5
    assert set(rollouts["stop_reason"]) == {"steps"}
    assert rollouts["submission_id"].is_not_null().sum() == 16


def test_the_table_has_its_schema(rolled: Rolled) -> None:
    assert rolled(Copy("edits", "summary")).schema == ROLLOUTS


def test_a_program_with_a_known_verdict_is_not_graded_again(
    dialogs_of: DialogsOf, submissions: pl.DataFrame, assignments: Mapping[str, Assignment], grader: Grader
) -> None:
    known = {
        (name, code): Verdict(grade=12.5, status=Status.COMPILES, tests=())
        for name, code in submissions.select("assignment", "code").iter_rows()
    }
    rollouts = roll_out(
        "copy",
        Copy("edits", "none"),
        dialogs_of(),
        submissions,
        assignments,
        grader,
        RolloutConfig(),
        known=known,
    )

    assert set(rollouts["grade"]) == {12.5}


def test_copies_of_real_submissions_have_known_verdicts(
    dialogs_of: DialogsOf,
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    rolled: Rolled,
) -> None:
    class NothingToGrade:
        def grade(self, pairs: list[Any]) -> list[Verdict]:
            assert pairs == []
            return []

    known = known_verdicts(submissions, verdicts)
    arguments: Any = (dialogs_of(), submissions, assignments, NothingToGrade(), RolloutConfig())

    rollouts = roll_out("sft", Copy("edits", "summary"), *arguments, known=known)

    assert rollouts.equals(rolled(Copy("edits", "summary")))


def test_samples_are_separate_rollouts(rolled: Rolled, scripted: Any) -> None:
    rollouts = rolled(scripted(lambda dialog, step: WRONG), samples=3, temperature=1.0, steps=2)

    assert rollouts.group_by("dialog_id", "start", "sample").len().height == 30


def test_dialogs_of_another_format_are_refused(dialogs_of: DialogsOf, rolled: Rolled) -> None:
    with pytest.raises(InputError, match="10 of 10 held-out starts have no dialog of format 'code'"):
        rolled(Copy("code", "summary"), dialogs_of("edits"))


def test_no_held_out_dialog_is_refused(dialogs_of: DialogsOf, rolled: Rolled) -> None:
    with pytest.raises(InputError, match="no start to roll out from"):
        rolled(Copy("edits", "summary"), dialogs_of().filter(pl.col("split") != "test"))


def test_samples_without_temperature_are_refused() -> None:
    with pytest.raises(ValueError, match="samples above 1 need a temperature"):
        RolloutConfig(samples=2)


def test_a_trained_student_is_rolled_out(rolled: Rolled, dialogs_of: DialogsOf, students: Path) -> None:
    engine = load_engine("sft", students / "sft", dialogs_of())

    rollouts = rolled(engine, steps=2, max_starts=4)

    assert set(rollouts["method"]) == {"sft"} and rollouts.select("dialog_id", "start").n_unique() == 4
    submitted = rollouts.filter(pl.col("outcome") != "ended")
    assert submitted["status"].null_count() == 0


def test_a_command_line_does_not_wait_for_the_heavy_libraries() -> None:
    program = (
        "import sys\n"
        "import tutee_evaluator.metrics, tutee_evaluator.rollout, tutee_evaluator.engines\n"
        "heavy = {'torch', 'transformers', 'peft', 'trl', 'bitsandbytes', 'codebleu'}\n"
        "print(*heavy.intersection(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""

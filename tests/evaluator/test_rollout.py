import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows.places import Places
from tutee_evaluator.engines import Copy, Situation
from tutee_evaluator.rollout import ROLLOUTS, RolloutConfig, draw_starts, roll_out, run
from tutee_grader import Assignment, Grader
from tutee_grader.errors import InputError
from tutee_serializer.course import Course
from tutee_serializer.dialogs.formats import Format

Dialogs = Callable[..., pl.DataFrame]
Rolled = Callable[..., pl.DataFrame]

RIGHT = {
    "double": "def double(n):\n    return n + n\n",
    "greet": "def greet(name):\n    return 'Hello, ' + name\n",
}
WRONG = "def double(n):\n    return 'no'\n"


@pytest.fixture
def rolled(
    told: Dialogs, submissions: pl.DataFrame, assignments: Mapping[str, Assignment], grader: Grader
) -> Rolled:
    def roll(engine: Any, dialogs: pl.DataFrame | None = None, **config: Any) -> pl.DataFrame:
        dialogs = told() if dialogs is None else dialogs
        return roll_out("sft", engine, dialogs, submissions, assignments, grader, RolloutConfig(**config))

    return roll


def _name(situation: Situation) -> str:
    return "double" if "double" in situation.messages[1]["content"] else "greet"


@pytest.mark.parametrize("format", list(Format))
@pytest.mark.parametrize("feedback", ["summary", "full", "none"])
def test_a_rollout_that_does_what_the_student_did_reads_like_the_students_dialog(
    format: Format, feedback: str, told: Dialogs, rolled: Rolled, scripted: Any, submissions: pl.DataFrame
) -> None:
    dialogs = told(format, feedback if feedback != "none" else "summary")
    mine = dialogs.filter((pl.col("split") == "test") & (pl.col("feedback") == feedback))
    codes = dict(submissions.select("submission_id", "code").iter_rows())
    texts, following = {}, {}
    for row in mine.iter_rows(named=True):
        places = [at for at, message in enumerate(row["messages"]) if message["role"] == "assistant"]
        for place, turn in zip(places, row["turns"], strict=True):
            texts[repr(row["messages"][:place])] = row["dialog_id"]
            following[repr(row["messages"][:place])] = codes[turn["submission_id"]]
    beyond: list[Situation] = []

    def teacher(situation: Situation, step: int) -> str:
        key = repr(list(situation.messages))
        if key not in following:
            beyond.append(situation)
            return "def beyond(): pass\n"
        return following[key]

    rollouts = rolled(scripted(teacher, format, feedback), dialogs)

    beside = rollouts.filter(pl.col("submission_id").is_not_null())
    assert beside["code"].to_list() == [codes[name] for name in beside["submission_id"]]
    assert beside.height > 10
    # Only who was done without full marks is asked for more than the student did.
    assert len(beyond) == rollouts.filter(pl.col("submission_id").is_null()).height


def test_starts_are_the_second_submission_and_every_later_one(
    told: Dialogs, submissions: pl.DataFrame
) -> None:
    starts = draw_starts(told(), submissions, RolloutConfig())

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


def test_every_method_gets_the_same_starts(told: Dialogs, submissions: pl.DataFrame) -> None:
    config = RolloutConfig(max_starts=4, seed=3)
    edits = told("edits")

    drawn = draw_starts(edits, submissions, config)

    assert drawn.height == 4
    assert drawn.equals(draw_starts(told("code", "full"), submissions, config))
    assert drawn.equals(
        draw_starts(edits.sample(fraction=1, shuffle=True, seed=1), submissions.reverse(), config)
    )
    assert not drawn.equals(draw_starts(edits, submissions, RolloutConfig(max_starts=4, seed=4)))


def test_a_dialog_over_assignments_starts_within_each(
    told: Dialogs, submissions: pl.DataFrame, rolled: Rolled
) -> None:
    dialogs = told(scope="course")

    starts = draw_starts(dialogs, submissions, RolloutConfig())
    rollouts = rolled(Copy("edits", "summary"), dialogs)

    one_each = draw_starts(told(), submissions, RolloutConfig())
    assert starts.height == one_each.height
    assert sorted(map(sorted, starts["real"])) == sorted(map(sorted, one_each["real"]))
    first = rollouts.filter(pl.col("step") == 1).sort("submission_id")
    previous = [
        f"{name.rsplit('/', 1)[0]}/{int(name.rsplit('/', 1)[1]) - 1}" for name in first["submission_id"]
    ]
    codes = dict(submissions.select("submission_id", "code").iter_rows())
    assert first["code"].to_list() == [codes[name] for name in previous]


def test_full_marks_end_a_rollout_and_the_student_still_counts(rolled: Rolled, scripted: Any) -> None:
    rollouts = rolled(scripted(lambda situation, step: RIGHT[_name(situation)]))

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
    def script(situation: Situation, step: int) -> str | None:
        return None if _name(situation) == "greet" and step == 2 else WRONG

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


def test_what_a_rollout_holds_is_its_schema(rolled: Rolled) -> None:
    assert rolled(Copy("edits", "summary")).schema == ROLLOUTS


def test_verdicts_that_are_known_are_not_made_again(
    told: Dialogs, submissions: pl.DataFrame, assignments: Mapping[str, Assignment], grader: Grader
) -> None:
    from tutee_grader import Status, Verdict

    known = {
        (name, code): Verdict(grade=12.5, status=Status.COMPILES, tests=())
        for name, code in submissions.select("assignment", "code").iter_rows()
    }
    rollouts = roll_out(
        "copy", Copy("edits", "none"), told(), submissions, assignments, grader, RolloutConfig(), known=known
    )

    assert set(rollouts["grade"]) == {12.5}


def test_samples_are_rolled_out_apart(rolled: Rolled, scripted: Any) -> None:
    rollouts = rolled(scripted(lambda situation, step: WRONG), samples=3, temperature=1.0, steps=2)

    assert rollouts.group_by("dialog_id", "start", "sample").len().height == 30


def test_dialogs_told_otherwise_are_refused(told: Dialogs, rolled: Rolled) -> None:
    with pytest.raises(InputError, match="10 of 10 held-out starts have no dialog of format 'code'"):
        rolled(Copy("code", "summary"), told("edits"))


def test_no_held_out_dialog_is_said(told: Dialogs, rolled: Rolled) -> None:
    with pytest.raises(InputError, match="no start to roll out from"):
        rolled(Copy("edits", "summary"), told().filter(pl.col("split") != "test"))


def test_samples_without_temperature_are_refused() -> None:
    with pytest.raises(ValueError, match="samples above 1 need a temperature"):
        RolloutConfig(samples=2)


@pytest.fixture
def places(tmp_path: Path, told: Dialogs, submissions: pl.DataFrame, verdicts: pl.DataFrame) -> Places:
    places = Places("small", tmp_path)
    places.data.mkdir(parents=True)
    told().write_parquet(places.dialogs)
    submissions.write_parquet(places.submissions)
    verdicts.write_parquet(places.verdicts)
    return places


def test_the_stage_rolls_a_trained_student_out(places: Places, course: Course, students: Path) -> None:
    shutil.copytree(students, places.models)

    rollouts = run(course, "sft", RolloutConfig(steps=2, max_starts=4), places, progress=False)

    assert pl.read_parquet(places.rollout("sft")).equals(rollouts)
    assert set(rollouts["method"]) == {"sft"} and rollouts.select("dialog_id", "start").n_unique() == 4
    handed_in = rollouts.filter(pl.col("outcome") != "ended")
    assert handed_in["status"].null_count() == 0


def test_a_missing_table_is_named_with_its_stage(places: Places, course: Course) -> None:
    places.verdicts.unlink()
    with pytest.raises(InputError, match=r"verdicts\.parquet: missing; run `tutee grade` first"):
        run(course, "copy", RolloutConfig(), places, progress=False)


def test_an_unknown_method_is_refused(places: Places, course: Course) -> None:
    with pytest.raises(InputError, match="'icl' is not one of copy, base, para, sft, dpo, dapo"):
        run(course, "icl", RolloutConfig(), places, progress=False)


def test_a_command_line_does_not_wait_for_the_heavy_libraries() -> None:
    program = (
        "import sys\n"
        "import tutee_evaluator.metrics, tutee_evaluator.rollout, tutee_evaluator.engines\n"
        "heavy = {'torch', 'transformers', 'peft', 'trl', 'bitsandbytes', 'codebleu'}\n"
        "print(*heavy.intersection(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""

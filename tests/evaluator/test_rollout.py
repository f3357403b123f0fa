import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tutee_evaluator.engines import Completion, EngineConfig
from tutee_evaluator.engines.baselines import Copy
from tutee_evaluator.engines.loading import load_engine
from tutee_evaluator.engines.transformers import Student
from tutee_evaluator.rollout import shards
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.rollout.grading import known_verdicts
from tutee_evaluator.rollout.run import roll_out
from tutee_evaluator.rollout.starts import draw_starts
from tutee_evaluator.rollout.state import gives_up
from tutee_evaluator.schemas import ROLLOUTS
from tutee_grader import Assignment, Grader, Verdict
from tutee_grader.errors import InputError
from tutee_grader.feedback import feedback
from tutee_grader.verdict import Status
from tutee_serializer.course import Course
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import Format
from tutee_serializer.dialogs.selection import SerializeConfig
from tutee_serializer.dialogs.serialize import serialize

DialogsOf = Callable[..., pl.DataFrame]
Rolled = Callable[..., pl.DataFrame]

RIGHT = {
    "double": "def double(n):\n    return n + n\n",
    "greet": "def greet(name):\n    return 'Hello, ' + name\n",
}
WRONG = "def double(n):\n    return 'no'\n"


@pytest.fixture
def rolled(
    dialogs_of: DialogsOf,
    submissions: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    grader: Grader,
    tmp_path: Path,
) -> Rolled:
    def roll(
        engine: Any, dialogs: pl.DataFrame | None = None, folder: Path | None = None, **config: Any
    ) -> pl.DataFrame:
        dialogs = dialogs_of() if dialogs is None else dialogs
        settings = RolloutConfig(**{"samples": 0} | config)
        arguments = (dialogs, submissions, assignments, grader, settings, tmp_path / "sft.parquet")
        return roll_out("sft", lambda: engine, *arguments, folder=folder).collect()

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

    def teacher(dialog: Dialog, step: int) -> str:
        return following[repr(dialog.messages)]

    rollouts = rolled(scripted(teacher, format, feedback), dialogs)

    assert rollouts["code"].to_list() == [codes[name] for name in rollouts["submission_id"]]
    assert rollouts.height > 10


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

    # Of the three starts in "greet", one has a second step: SHOUT, HELLO come after ada's first program.
    bad = rollouts.filter(pl.col("outcome") == "unreadable")
    assert set(bad["step"]) == {2} and set(bad["status"]) == {"no program in it"}
    assert bad["code"].null_count() == bad["grade"].null_count() == bad.height == 1
    by_reason = rollouts.group_by("stop_reason").agg(
        pl.struct("dialog_id", "start").n_unique().alias("rollouts")
    )
    assert dict(by_reason.iter_rows()) == {"unreadable": 1, "steps": 9}
    # 16 real submissions follow the starts, of which one belongs to the turn without a program.
    assert rollouts.filter(pl.col("outcome") == "program").height == 15


def test_a_rollout_ends_with_the_students_last_submission(rolled: Rolled) -> None:
    rollouts = rolled(Copy("edits", "summary"), steps=5)

    assert rollouts.height == 16
    assert set(rollouts["stop_reason"]) == {"steps"}
    assert rollouts["submission_id"].null_count() == 0
    assert rolled(Copy("edits", "summary"), steps=2).height == 10 + 5  # starts, and those two before the end


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("", True),
        ("  \n", True),
        ("# I give up\n", True),
        ("exit()\n", True),
        ("def f():\n    exit(1)\n", True),
        ("import sys\nsys.exit()\n", False),
        ("print('exit()')\n", False),
        ("exit = 3\n", False),
        ("def f(:\n    exit()\n", False),
        ("(" * 10_000, False),
        ("-" * 10_000 + "1", False),
        ("x = " + "1" * 10_000, False),
        ("a\0b", False),
    ],
)
def test_an_empty_program_or_one_that_calls_exit_gives_up(program: str, expected: bool) -> None:
    assert gives_up(program) is expected


@pytest.mark.parametrize(
    "program", ["Dear teacher,\nit works!", "a" * 10_000, "(" * 10_000], ids=["prose", "letters", "brackets"]
)
def test_text_that_is_no_program_is_graded_as_one(rolled: Rolled, scripted: Any, program: str) -> None:
    rollouts = rolled(scripted(lambda dialog, step: program), steps=2, max_starts=3)

    made = rollouts.filter(outcome="program")
    assert set(made["grade"]) == {0.0} and made["status"].null_count() == 0
    assert set(rollouts["stop_reason"]) == {"steps"}


def test_a_dialog_that_grows_too_long_for_the_model_ends_its_rollout_with_the_reason(
    rolled: Rolled, students: Path
) -> None:
    class Growing(Student):
        """Writes a program that its next prompt shows and has no space for."""

        def read(self, tokens: list[int], dialog: Dialog, prompt_tokens: int) -> Completion:
            return Completion("", "a" * 10_000)

    rollouts = rolled(Growing.load(students / "base", device="cpu"), steps=2)

    assert set(rollouts.filter(step=1)["outcome"]) == {"program"}
    second = rollouts.filter(step=2)
    assert set(second["outcome"]) == {"unreadable"} and second.height > 0
    assert all("too long for the model" in reason for reason in second["status"])


def test_giving_up_ends_a_rollout_ungraded(rolled: Rolled, scripted: Any) -> None:
    rollouts = rolled(scripted(lambda dialog, step: WRONG if step == 1 else "exit()\n"), steps=3)

    gave_up = rollouts.filter(pl.col("outcome") == "gave up")
    assert set(gave_up["step"]) == {2} and set(gave_up["code"]) == {"exit()\n"}
    assert set(gave_up["grade"]) == set(gave_up["feedback"]) == {None}
    assert set(rollouts.filter(pl.col("step") == 3)["outcome"]) == {"ended"}
    assert set(gave_up["stop_reason"]) == {"gave up"}


def test_the_table_has_its_schema(rolled: Rolled) -> None:
    assert rolled(Copy("edits", "summary")).schema == ROLLOUTS


def test_a_program_with_a_known_verdict_is_not_graded_again(
    dialogs_of: DialogsOf,
    submissions: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    grader: Grader,
    tmp_path: Path,
) -> None:
    known = {
        (name, code): Verdict(grade=12.5, status=Status.COMPILES, tests=())
        for name, code in submissions.select("assignment", "code").iter_rows()
    }
    rollouts = roll_out(
        "copy",
        lambda: Copy("edits", "none"),
        dialogs_of(),
        submissions,
        assignments,
        grader,
        RolloutConfig(samples=0),
        tmp_path / "copy.parquet",
        known=known,
    ).collect()

    assert set(rollouts["grade"]) == {12.5}


def test_copies_of_real_submissions_have_known_verdicts(
    dialogs_of: DialogsOf,
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    rolled: Rolled,
    tmp_path: Path,
) -> None:
    class NothingToGrade:
        def grade(self, pairs: list[Any]) -> list[Verdict]:
            assert pairs == []
            return []

    known = known_verdicts(submissions, verdicts)
    config, table = RolloutConfig(samples=0), tmp_path / "table.parquet"
    arguments: Any = (dialogs_of(), submissions, assignments, NothingToGrade(), config, table)

    rollouts = roll_out("sft", lambda: Copy("edits", "summary"), *arguments, known=known)

    assert rollouts.collect().equals(rolled(Copy("edits", "summary")))


def test_samples_are_separate_rollouts(rolled: Rolled, scripted: Any) -> None:
    engine = scripted(lambda dialog, step: WRONG)
    rollouts = rolled(engine, samples=3, temperature=0.7, steps=2)

    assert rollouts.group_by("dialog_id", "start", "sample").len().height == 40
    asked = [(request.temperature, request.seed) for request in engine.requests]
    assert len(asked) == rollouts.height
    assert asked.count((0.0, 0)) == rollouts.filter(sample=0).height
    drawn = [seed for temperature, seed in asked if temperature == 0.7]
    assert len(set(drawn)) == len(drawn) == rollouts.filter(pl.col("sample") > 0).height


def test_dialogs_of_another_format_are_refused(dialogs_of: DialogsOf, rolled: Rolled) -> None:
    with pytest.raises(InputError, match="10 of 10 held-out starts have no dialog of format 'code'"):
        rolled(Copy("code", "summary"), dialogs_of("edits"))


def test_no_held_out_dialog_is_refused(dialogs_of: DialogsOf, rolled: Rolled) -> None:
    with pytest.raises(InputError, match="no start to roll out from"):
        rolled(Copy("edits", "summary"), dialogs_of().filter(pl.col("split") != "test"))


def test_a_killed_run_makes_only_the_rollouts_that_are_missing(
    rolled: Rolled, scripted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "ROLLOUTS_PER_SHARD", 3)

    def script(dialog: Dialog, step: int) -> str:
        return WRONG if step < 3 else RIGHT[_name(dialog)]

    whole = scripted(script)
    expected = rolled(whole, folder=tmp_path / "whole", samples=1)

    class Killed(scripted):
        def collect(self) -> list[tuple[int, Completion]]:
            if len(self.requests) > 20:
                raise KeyboardInterrupt
            return super().collect()

    with pytest.raises(KeyboardInterrupt):
        rolled(Killed(script), folder=tmp_path / "killed", samples=1)
    kept = sum(pl.read_parquet(file).height for file in (tmp_path / "killed").iterdir())
    again = scripted(script)
    assert rolled(again, folder=tmp_path / "killed", samples=1).equals(expected)
    assert 0 < len(again.requests) == len(whole.requests) - kept


def test_the_table_is_in_order_though_it_is_sorted_in_pieces(
    rolled: Rolled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "ROLLOUTS_PER_SHARD", 3)
    monkeypatch.setattr(shards, "ROWS_PER_PIECE", 7)

    rollouts = rolled(Copy("edits", "summary"), samples=2)

    keys = rollouts.select("dialog_id", "start", "sample", "step").rows()
    assert keys == sorted(set(keys))
    assert len(keys) == 3 * 16


def test_programs_are_graded_while_others_are_written(
    dialogs_of: DialogsOf,
    submissions: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    scripted: Any,
    tmp_path: Path,
) -> None:
    events: list[str] = []
    written = threading.Event()

    class Slow:
        """Gives its first verdicts only when more turns have been written."""

        def grade(self, pairs: list[Any]) -> list[Verdict]:
            events.append("grading")
            assert written.wait(20)
            return [Verdict(grade=0.0, status=Status.COMPILES, tests=()) for _ in pairs]

    class Engine(scripted):
        def collect(self) -> list[tuple[int, Completion]]:
            done = super().collect()
            if events and done:
                written.set()
            return done

    engine = Engine(lambda dialog, step: WRONG)
    config, table = RolloutConfig(samples=0), tmp_path / "table.parquet"
    arguments: Any = (dialogs_of(), submissions, assignments, Slow(), config, table)
    assert roll_out("sft", lambda: engine, *arguments).collect().height == 16


def test_no_more_rollouts_are_under_way_than_keep_the_engine_busy(rolled: Rolled, scripted: Any) -> None:
    most = []

    class Engine(scripted):
        def collect(self) -> list[tuple[int, Completion]]:
            most.append(len(self._waiting))
            return super().collect()

    rolled(Engine(lambda dialog, step: WRONG), samples=4)
    assert max(most) == 2 * Engine.batch


def test_a_trained_student_is_rolled_out(rolled: Rolled, dialogs_of: DialogsOf, students: Path) -> None:
    engine = load_engine("sft", students / "sft", dialogs_of(), EngineConfig())

    rollouts = rolled(engine, steps=2, max_starts=4)

    assert set(rollouts["method"]) == {"sft"} and rollouts.select("dialog_id", "start").n_unique() == 4
    submitted = rollouts.filter(pl.col("outcome") != "ended")
    assert submitted["status"].null_count() == 0


def test_a_command_line_does_not_wait_for_the_heavy_libraries() -> None:
    program = (
        "import sys\n"
        "import tutee_evaluator.metrics, tutee_evaluator.rollout.run, tutee_evaluator.engines\n"
        "heavy = {'torch', 'transformers', 'peft', 'trl', 'bitsandbytes', 'codebleu'}\n"
        "print(*heavy.intersection(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""


def test_a_rollout_goes_on_with_what_the_students_arm_is_told(
    submissions: pl.DataFrame, verdicts: pl.DataFrame, course: Course, rolled: Rolled, scripted: Any
) -> None:
    levels = {"A": "none", "B": "first", "C": "full"}
    arms = {"ada": "A", "ben": "B", "cem": "C"}
    of = course.model_copy(update={"arms": levels})
    told = submissions.with_columns(arm=pl.col("student").replace_strict(arms, default="A"))
    dialogs = serialize(told, verdicts, of, SerializeConfig(max_length_z=None), "edits", "arm")[0]

    rollouts = rolled(scripted(lambda *_: WRONG, "edits", "arm"), dialogs)

    graded = rollouts.drop_nulls("grade").join(told.select("submission_id", "arm"), on="submission_id")
    assert set(graded["arm"]) == set(arms.values())
    for row in graded.iter_rows(named=True):
        assert row["feedback"] == feedback(Verdict.from_row(row), levels[row["arm"]])

"""Dialogs of a whole course: from the log to the report, and what earlier assignments tell of the next."""

import re
from collections.abc import Callable, Iterable
from math import log
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
import yaml

from flows.commands.context import context
from flows.commands.stages import serialize as serialize_stage
from flows.places import Places
from tutee_evaluator.context import (
    ALL,
    CELLS,
    FIRST,
    LATER,
    ContextConfig,
    forecast,
    gains_table,
    measure,
    submissions_in_context,
)
from tutee_evaluator.engines import Completion, Request
from tutee_evaluator.engines.baselines import BASELINES
from tutee_evaluator.engines.transformers import Student
from tutee_evaluator.evaluate import evaluate
from tutee_evaluator.metrics import ReportConfig
from tutee_evaluator.metrics.strata import OVERALL
from tutee_evaluator.probing.targets import find_targets
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.rollout.run import roll_out
from tutee_evaluator.rollout.starts import draw_starts
from tutee_evaluator.steering.starts import draw_starts as draw_wrong
from tutee_grader.errors import InputError
from tutee_grader.grader import Grader
from tutee_grader.table import grade_table
from tutee_serializer.course import Course
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import Message, write_turn
from tutee_serializer.dialogs.held_out import held_out_turns, learnt_turns
from tutee_serializer.dialogs.selection import SerializeConfig
from tutee_serializer.dialogs.serialize import serialize
from tutee_serializer.schemas import SUBMISSIONS
from tutee_trainer.method import load_methods
from tutee_trainer.pairs import PairsConfig, write_pairs
from tutee_trainer.preset import Preset
from tutee_trainer.training import TrainingJob

from .course_files import write_course

TASKS = ("one", "two", "three", "four")
HABITS = ("n", "value", "thing")  # what a student calls every argument
WORDS = re.compile(r"def \w+\((\w+)\)")
CONFIG = SerializeConfig(scope="course", split="both", held_out=0.25, validation=0.1)
MICRO = {
    "name": "micro",
    "model": {"hidden_size": 32, "layers": 1, "heads": 1, "kv_heads": 1, "head_size": 32, "mlp_size": 64},
    "tokenizer": {"vocabulary": 440},
    "base": {
        "tokens": 6000, "batch_tokens": 1000, "learning_rate": 0.02, "embedding_learning_rate": 0.01,
        "evaluations": 2,
    },
    "lora": {"rank": 4, "alpha": 8},
    "sft": {"learning_rate": 1e-2, "steps": 1, "batch": 4, "micro_batch": 4},
    "dpo": {"learning_rate": 3e-3, "steps": 1, "batch": 2, "micro_batch": 2},
    "dapo": {"learning_rate": 1e-2, "steps": 1, "batch": 4, "micro_batch": 4, "max_prompt": 300},
    "dialog": {"format": "edits", "max_length": 400, "max_new_tokens": 32},
    "rollout": {"samples": 2, "max_starts": 12},
}  # fmt: skip


def program(task: str, habit: str, added: int) -> str:
    return f"def {task}({habit}):\n    return {habit} + {added}\n"


@pytest.fixture(scope="module")
def whole_course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    numbers = {name: number for number, name in enumerate(TASKS, 1)}
    solutions = {name: program(name, "n", number) for name, number in numbers.items()}
    calls = {name: [(f"{name}({n})", str(n + number)) for n in (0, 5)] for name, number in numbers.items()}
    return write_course(tmp_path_factory.mktemp("whole"), "whole", solutions, calls)


@pytest.fixture(scope="module")
def log_of_course() -> pl.DataFrame:
    """Twelve students learn and four are new; each is wrong twice on every assignment, then right."""
    rows = [
        {
            "submission_id": f"{student}/{task}/{order}",
            "course": "whole",
            "semester": "one" if student < "s12" else "two",
            "student": student,
            "assignment": task,
            "order": order,
            "code": program(task, HABITS[number % 3], added),
            "messages": [],
            "source_row": 10 * place + order,
        }
        for number in range(16)
        for student in (f"s{number:02}",)
        for place, task in enumerate(TASKS, 1)
        for order, added in enumerate((7, 8, place), 1)
    ]
    return pl.DataFrame(rows, schema=SUBMISSIONS)


@pytest.fixture(scope="module")
def graded(log_of_course: pl.DataFrame, whole_course: Course, tmp_path_factory: Any) -> pl.DataFrame:
    parts = tmp_path_factory.mktemp("graded")
    assignments = whole_course.load_assignments()[0]
    return grade_table(log_of_course, assignments, parts, workers=1, progress=False)


@pytest.fixture(scope="module")
def dialogs_in(
    log_of_course: pl.DataFrame, graded: pl.DataFrame, whole_course: Course
) -> Callable[..., pl.DataFrame]:
    def dialogs_in(format: str = "code", **changes: Any) -> pl.DataFrame:
        config = CONFIG.model_copy(update=changes)
        return serialize(log_of_course, graded, whole_course, config, format)[0]

    return dialogs_in


DialogsIn = Callable[..., pl.DataFrame]


class Habitual:
    """A made-up engine: it solves the task, and calls the argument what the dialog does, or one of HABITS.

    Unless it `reads` earlier assignments, it knows the present one alone.
    """

    batch, format, feedback = 8, "code", "summary"

    def __init__(self, reads: bool) -> None:
        self.reads = reads
        self.asked: list[Dialog] = []
        self._done: list[tuple[int, Completion]] = []

    def cut(self, dialog: Dialog) -> list[Message]:
        return dialog.messages

    def nats(self, dialog: Dialog, turn: str) -> float:
        self.asked.append(dialog)
        habit = self._habit(dialog)
        return log(len(HABITS)) if habit is None else float(habit not in WORDS.findall(turn))

    def add(self, key: int, request: Request) -> None:
        self.asked.append(request.dialog)
        task = re.findall(r"Write the function `(\w+)`", request.dialog.task)[0]
        habit = self._habit(request.dialog) or Random(request.seed).choice(HABITS)
        text = program(task, habit, 7)
        self._done.append((key, Completion(write_turn("code", request.dialog.previous, text), text)))

    def collect(self) -> list[tuple[int, Completion]]:
        done, self._done = self._done, []
        return done

    def _habit(self, dialog: Dialog) -> str | None:
        read = dialog if self.reads else dialog.alone()
        found = WORDS.findall("\n".join(m["content"] for m in read.messages if m["role"] == "assistant"))
        return found[-1] if found else None


def test_the_four_cells_hold_each_held_out_submission_with_earlier_work_once(
    dialogs_in: DialogsIn, log_of_course: pl.DataFrame
) -> None:
    dialogs = dialogs_in()
    found = submissions_in_context(dialogs, log_of_course)

    assert set(found["cell"]) == set(CELLS)
    tested = held_out_turns(dialogs)["submission_id"]
    first_assignment = {name for name in tested if name.split("/")[1] == TASKS[0]}
    assert sorted(found["submission_id"]) == sorted(set(tested) - first_assignment)
    learnt = learnt_turns(dialogs, "train")["submission_id"].to_list()
    students, assignments = ({name.split("/")[place] for name in learnt} for place in (0, 1))
    for name, cell in found.select("submission_id", "cell").rows():
        student, assignment, order = name.split("/")
        assert cell.startswith("seen student" if student in students else "new student")
        assert cell.endswith("seen assignment" if assignment in assignments else "new assignment")
        assert found.filter(submission_id=name)["first"].item() == (order == "1")


def test_the_context_ends_where_the_submission_is(dialogs_in: DialogsIn, log_of_course: pl.DataFrame) -> None:
    dialogs, engine = dialogs_in(), Habitual(reads=True)

    found = forecast(engine, dialogs, log_of_course, ContextConfig(limit=100, samples=2))

    nats = engine.asked[: 3 * found.height]
    rows = found.iter_rows(named=True)
    for row, before, alone, other in zip(rows, nats[::3], nats[1::3], nats[2::3], strict=True):
        student, assignment, order = row["submission_id"].split("/")
        earlier = [
            f"{student}/{task}/{number}" for task in TASKS[: TASKS.index(assignment)] for number in (1, 2, 3)
        ]
        own = [f"{student}/{assignment}/{number}" for number in range(1, int(order))]
        assert before.submission_ids == (*earlier, *own)
        assert alone.submission_ids == tuple(own) and len(alone.grades) == len(own)
        assert alone.messages[1]["content"] == before.task == alone.task
        assert alone.previous == before.previous
        assert row["read"] == len(earlier)
        (another,) = {name.split("/")[0] for name in other.submission_ids[: len(earlier)]}
        assert another != student
        assert other.submission_ids == (*(name.replace(student, another) for name in earlier), *own)
        assert len(other.grades) == len(other.submission_ids)
        assert other.messages[-len(alone.messages) + 1 :] == alone.messages[1:]


def test_an_engine_that_ignores_earlier_work_gains_nothing(
    dialogs_in: DialogsIn, log_of_course: pl.DataFrame
) -> None:
    found = forecast(Habitual(reads=False), dialogs_in(), log_of_course, ContextConfig(samples=4))
    gains = measure(found, ReportConfig(resamples=50))

    assert set(gains["stratum"]) == {*CELLS, ALL, FIRST, LATER}
    for column in ("gain", "low", "high", "own", "own_low", "own_high"):
        assert gains[column].to_list() == [0.0] * 14


class Warm(Habitual):
    """A made-up engine that finds a turn likelier after any earlier assignment, whosever it is."""

    def nats(self, dialog: Dialog, turn: str) -> float:
        return float(dialog.messages == dialog.alone().messages)


def test_what_anybodys_earlier_work_would_give_is_not_the_students_own(
    dialogs_in: DialogsIn, log_of_course: pl.DataFrame
) -> None:
    found = forecast(Warm(reads=False), dialogs_in(), log_of_course, ContextConfig(samples=4))
    gains = measure(found, ReportConfig(resamples=50))

    of_nats = gains.filter(score="nats")
    assert of_nats["gain"].to_list() == [1.0] * 7
    assert of_nats["own"].to_list() == of_nats["own_low"].to_list() == [0.0] * 7


def test_where_nobody_else_came_to_an_assignment_nothing_is_the_students_own(
    dialogs_in: DialogsIn, log_of_course: pl.DataFrame
) -> None:
    dialogs = dialogs_in()
    one = dialogs.filter(pl.col("split") != "test", feedback="summary")
    only = dialogs.filter(split="test", student="s15")
    found = forecast(Habitual(reads=True), pl.concat([one, only]), log_of_course, ContextConfig(samples=2))
    gains = measure(found, ReportConfig(resamples=20))

    assert found["nats_another"].null_count() == found["energy_another"].null_count() == found.height > 0
    assert gains["own"].null_count() == gains.height and gains["gain"].null_count() == 0
    assert re.search(r"^all .*\]  -$", gains_table(gains), re.MULTILINE)


def test_a_habit_across_assignments_is_found_at_first_submissions(
    dialogs_in: DialogsIn, log_of_course: pl.DataFrame
) -> None:
    found = forecast(Habitual(reads=True), dialogs_in(), log_of_course, ContextConfig(samples=8))
    gains = measure(found, ReportConfig(resamples=200))

    def gain(stratum: str, score: str) -> dict[str, Any]:
        return gains.filter(stratum=stratum, score=score).row(0, named=True)

    # What is written is right but for its name: with one of three names drawn, log(3) nats are lost.
    assert gain(FIRST, "nats")["gain"] == pytest.approx(log(3))
    assert gain(FIRST, "energy")["low"] > 0
    # Another student's habit is the same one or another: then 1 nat is lost.
    another = found.filter(pl.col("first"))["nats_another"]
    assert set(another) == {0.0, 1.0}
    assert gain(FIRST, "nats")["own"] == pytest.approx(another.mean())
    assert gain(FIRST, "energy")["own_low"] > 0
    for score in ("nats", "energy"):
        assert gain(LATER, score)["gain"] == 0
        for cell in CELLS:
            assert gain(cell, score)["gain"] > 0
    assert "seen student, new assignment" in gains_table(gains)


def test_only_work_that_is_held_out_is_started_from(
    dialogs_in: DialogsIn, log_of_course: pl.DataFrame, graded: pl.DataFrame
) -> None:
    dialogs = dialogs_in()
    known = dialogs.filter(feedback="summary")
    learnt = set(learnt_turns(dialogs, "train", "validation")["submission_id"])
    tested = set(log_of_course["submission_id"]) - learnt

    starts = draw_starts(dialogs, log_of_course, RolloutConfig(max_starts=None))["real"].explode()
    assert set(starts) == {name for name in tested if not name.endswith("/1")}
    wrong = draw_wrong(known, log_of_course, graded, 1000, 0)
    assert {(start.student, start.assignment) for start in wrong} == _work(tested)
    assert len(wrong) == sum(not name.endswith("/3") for name in tested)
    assert set(find_targets(known, log_of_course)["submission_id"]) == {
        name for name in tested if not name.endswith("/3")
    }


def _work(names: Iterable[str]) -> set[tuple[str, ...]]:
    """Who worked on what, of the ids of submissions."""
    return {tuple(name.split("/")[:2]) for name in names}


def test_dialogs_of_one_assignment_have_no_context(
    dialogs_in: DialogsIn, log_of_course: pl.DataFrame
) -> None:
    with pytest.raises(InputError, match="scope: course"):
        forecast(Habitual(reads=True), dialogs_in(scope="assignment"), log_of_course, ContextConfig())


def test_dialogs_of_a_course_train_roll_out_and_are_evaluated(
    dialogs_in: DialogsIn,
    log_of_course: pl.DataFrame,
    graded: pl.DataFrame,
    whole_course: Course,
    one_thread: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    places, preset = Places("whole", "micro"), Preset.parse(MICRO)
    dialogs, assignments = dialogs_in("edits"), whole_course.load_assignments()[0]
    places.of_preset.mkdir(parents=True)
    log_of_course.write_parquet(places.submissions)
    graded.write_parquet(places.verdicts)
    dialogs.write_parquet(places.dialogs)
    write_pairs(PairsConfig(), preset, places.dialogs, places.pairs)
    prompts = pl.read_parquet(places.pairs)["prompt"].to_list()
    assert any(sum(m["content"].startswith("Task:") for m in prompt) > 1 for prompt in prompts)

    for name in ("base", "sft", "dpo"):
        method = load_methods()[name]
        job = TrainingJob(
            preset=preset,
            course="whole",
            output=places.model(name),
            base=places.model("base"),
            start=places.model(method.start or "base"),
            data=places.pairs if method.learns_from == "pairs" else places.dialogs,
            dialogs=places.dialogs,
            checkpoints=places.checkpoints(name),
        )
        method.train(job)

    rollouts = []
    with Grader(workers=1) as grader:
        for name in ("dpo", *BASELINES):
            with_feedback = dialogs.filter(feedback="summary")
            engine: Any = (
                Student.load(places.model(name))
                if name == "dpo"
                else BASELINES[name]("edits", "summary", with_feedback)
            )
            table = tmp_path / f"{name}.parquet"
            rollouts.append(
                roll_out(
                    name, lambda engine=engine: engine, dialogs, log_of_course, assignments, grader,
                    preset.rollout, table,
                )
            )  # fmt: skip
    together = pl.concat(rollouts)
    steps, _, metrics = evaluate(together, dialogs, log_of_course, graded, ReportConfig(resamples=20))
    # A rollout ends with the student's work on the assignment, and begins with what nobody has learnt.
    assert set(together.select("submission_id").collect().to_series()) <= set(
        held_out_turns(dialogs)["submission_id"]
    )
    lasts = steps.group_by("method", "dialog_id", "start", "sample").agg(pl.col("real_grade").last())
    assert set(lasts["real_grade"]) == {100.0}
    overall = metrics.filter(metric="energy", stratum=OVERALL)
    assert set(overall["method"]) == {"dpo", *BASELINES} and overall["value"].null_count() == 0

    (tmp_path / "params.yaml").write_text(
        yaml.safe_dump(
            {
                "courses": {"whole": str(whole_course.file)},
                "presets": ["micro"],
                "preset": "micro",
                "methods": ["base", "sft", "dpo"],
                "warm_start": None,
                **{section: {} for section in ("ingest", "grade", "pairs", "engine", "report", "gate")},
                "serialize": CONFIG.model_dump(),
            }
        )
    )
    (tmp_path / "presets").mkdir()
    values = {key: value for key, value in MICRO.items() if key != "name"}
    (tmp_path / "presets" / "micro.yaml").write_text(yaml.safe_dump(values))
    context("whole", "sft", limit=2, samples=2, seed=1)
    said = capsys.readouterr().out
    assert "context: 8 held-out submissions of" in said
    gains = pl.read_csv(places.context)
    assert set(CELLS) < set(gains["stratum"]) and gains["read"].min() > 0

    # A turn that is context in the test dialog of a student who learns is one of the log's, counted once.
    serialize_stage("whole")
    assert dialogs.filter(feedback="summary")["turns"].list.len().sum() > log_of_course.height
    assert f"of {log_of_course.height} turns" in capsys.readouterr().out

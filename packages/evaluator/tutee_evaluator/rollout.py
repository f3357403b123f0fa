"""Lets an artificial student work on from where real students stood, step by step, against the grader.

The protocol is that of Koutcheme et al. (arXiv 2604.10720): for a held-out trajectory of N submissions
and each start k = 2..N, the artificial student sees the real history before submission k, writes the
next one, gets the grader's feedback on its own program, and goes on so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import polars as pl
from pydantic import NonNegativeFloat, PositiveInt, model_validator
from tqdm import tqdm

from flows.places import Places
from tutee_evaluator.engines import Copy, Engine, Message, Situation, Student
from tutee_grader import Assignment, Grader, Verdict, feedback
from tutee_grader.config import Section
from tutee_grader.errors import InputError
from tutee_grader.files import read_table, write_table
from tutee_grader.verdict import VERDICT_COLUMNS
from tutee_serializer.course import Course
from tutee_serializer.dialogs.formats import feedback_turn, read_turn, write_turn

COPY = "copy"
METHODS = (COPY, "base", "para", "sft", "dpo", "dapo")


class RolloutConfig(Section):
    """Section `rollout` of params.yaml.

    `max_starts` caps the starts, drawn with `seed`; every method gets the same ones. `samples` rollouts
    are made from each start; `temperature` 0 takes the likeliest token. `batch` counts prompts at once.
    """

    max_starts: PositiveInt = 80
    steps: PositiveInt = 5
    samples: PositiveInt = 1
    temperature: NonNegativeFloat = 0.0
    batch: PositiveInt = 32
    seed: int = 2022

    @model_validator(mode="after")
    def _samples_differ(self) -> "RolloutConfig":
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("samples above 1 need a temperature above 0, else they are all the same")
        return self


class Outcome(StrEnum):
    """What a step of a rollout came to."""

    PROGRAM = "program"  # a program, which was graded
    UNREADABLE = "unreadable"  # a turn that holds no program; `status` says why
    ENDED = "ended"  # the rollout was over, and the real student went on


class StopReason(StrEnum):
    """Why a rollout ended."""

    SOLVED = "solved"  # the program got grade 100
    UNREADABLE = "unreadable"  # a turn held no program
    STEPS = "steps"  # it took as many steps as were asked for


# One row per step at which the rollout or the real student handed something in. `submission_id` is the
# real submission of that step. `status` is the grader's, or the reason why a turn could not be read.
_COLUMNS: dict[str, Any] = {
    "method": pl.String,
    "dialog_id": pl.String,
    "start": pl.Int64,
    "step": pl.Int64,
    "sample": pl.Int64,
    "code": pl.String,
    "outcome": pl.String,
    **VERDICT_COLUMNS,
    "feedback": pl.String,
    "submission_id": pl.String,
    "stop_reason": pl.String,
}
ROLLOUTS = pl.Schema(_COLUMNS)


@dataclass
class _Walk:
    """One rollout on its way."""

    dialog_id: str
    assignment: Assignment
    start: int
    sample: int
    real: list[str]  # ids of the real submissions from the start on
    messages: list[Message]
    previous: str
    stop: StopReason | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)


def run(
    course: Course, method: str, config: RolloutConfig, places: Places, progress: bool = True
) -> pl.DataFrame:
    """Stage rollout: rolls `method` out on the course's held-out trajectories, writes ROLLOUTS."""
    dialogs = read_table(places.dialogs, "serialize")
    submissions = read_table(places.submissions, "ingest")
    engine = _engine(method, config, places, dialogs, progress)
    assignments, _ = course.load_assignments()
    known = _known(submissions, read_table(places.verdicts, "grade"))
    with Grader(cache=places.verdict_cache) as grader:
        rollouts = roll_out(
            method, engine, dialogs, submissions, assignments, grader, config, known=known, progress=progress
        )
    write_table(rollouts, places.rollout(method))
    return rollouts


def roll_out(
    method: str,
    engine: Engine,
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    grader: Grader,
    config: RolloutConfig,
    *,
    known: Mapping[tuple[str, str], Verdict] | None = None,
    progress: bool = False,
) -> pl.DataFrame:
    """Rolls `engine` out from the drawn starts of the held-out dialogs (DIALOGS); returns ROLLOUTS.

    All rollouts go forward together: each step is one batch of writing and one batch of grading. A
    program whose verdict is among `known`, by assignment and code, is not graded again.
    Raises InputError where the held-out dialogs give nothing to roll out.
    """
    walks = _walks(engine, dialogs, submissions, assignments, config)
    verdicts = dict(known or {})
    steps = range(1, config.steps + 1)
    for step in tqdm(steps, f"rollout {method}", unit="step", disable=None if progress else True):
        going = [walk for walk in walks if walk.stop is None]
        if going:
            _advance(going, step, engine, grader, verdicts, config.steps)
    rows = []
    for walk in walks:
        assert walk.stop is not None  # the last step stops every walk
        later = range(len(walk.rows) + 1, min(config.steps, len(walk.real)) + 1)
        rest = [_row(walk, step, Outcome.ENDED) for step in later]
        rows += [{**row, "method": method, "stop_reason": str(walk.stop)} for row in walk.rows + rest]
    return pl.DataFrame(rows, schema=ROLLOUTS)


def draw_starts(dialogs: pl.DataFrame, submissions: pl.DataFrame, config: RolloutConfig) -> pl.DataFrame:
    """The starts to roll out from: columns dialog_id, student, assignment, start, real.

    Each start k = 2..N of a held-out trajectory of N submissions stands for the history before submission
    k; `start` counts the dialog's turns from 1, and `real` lists the ids of the real submissions from
    there on. Which starts are drawn depends on the seed and the submissions, not on how the dialogs
    are told (format, feedback), so every method gets the same.
    """
    order = ["student", "assignment", "dialog_id", "start"]
    turns = (
        dialogs.filter(pl.col("split") == "test")
        .unique("dialog_id")
        .select("dialog_id", "student", pl.col("turns").list.eval(pl.element().struct.field("submission_id")))
        .with_columns(start=pl.int_ranges(1, pl.col("turns").list.len() + 1))
        .explode("turns", "start")
        .rename({"turns": "submission_id"})
        .join(submissions.select("submission_id", "assignment"), on="submission_id")
        .sort(order)
    )
    starts = (
        turns.group_by("dialog_id", "student", "assignment", maintain_order=True)
        .agg("start", at=pl.int_range(pl.len()), real=pl.col("submission_id"))
        .explode("start", "at")
        .filter(pl.col("at") > 0)
        .with_columns(real=pl.col("real").list.slice(pl.col("at")))
        .drop("at")
    )
    if starts.height > config.max_starts:
        starts = starts.sample(config.max_starts, seed=config.seed).sort(order)
    return starts


def _engine(
    method: str, config: RolloutConfig, places: Places, dialogs: pl.DataFrame, progress: bool
) -> Engine:
    if method not in METHODS:
        raise InputError(f"method {method!r} is not one of {', '.join(METHODS)}")
    if method != COPY:
        return Student.load(
            places.model(method),
            temperature=config.temperature,
            seed=config.seed,
            batch=config.batch,
            progress=progress,
        )
    told = dialogs.filter(pl.col("feedback") != "none")
    told = dialogs if told.is_empty() else told
    if told.is_empty():
        raise InputError(f"{places.dialogs}: no dialog; the course's log gives nothing to roll out")
    return Copy(told["format"][0], told["feedback"][0])


def _walks(
    engine: Engine,
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    config: RolloutConfig,
) -> list[_Walk]:
    starts = draw_starts(dialogs, submissions, config)
    if starts.is_empty():
        raise InputError(
            "no held-out student handed in twice for an assignment, so there is no start to roll out from; "
            "see `semesters: test` of the course file and the rules under `serialize` in params.yaml"
        )
    told = dialogs.filter((pl.col("feedback") == engine.feedback) & (pl.col("format") == engine.format))
    chosen = starts.join(
        told.select("dialog_id", "format", "messages"), on="dialog_id", maintain_order="left"
    )
    if chosen.height != starts.height:
        raise InputError(
            f"{starts.height - chosen.height} of {starts.height} held-out starts have no dialog of format "
            f"{engine.format!r} and feedback {engine.feedback!r}, which this student was trained on; "
            "run `tutee serialize` with the preset it was trained with"
        )
    walks = []
    for dialog in chosen.iter_rows(named=True):
        programs = _programs(dialog["format"], dialog["messages"])
        places = [at for at, message in enumerate(dialog["messages"]) if message["role"] == "assistant"]
        for sample in range(config.samples):
            walks.append(
                _Walk(
                    dialog_id=dialog["dialog_id"],
                    assignment=assignments[dialog["assignment"]],
                    start=dialog["start"],
                    sample=sample,
                    real=dialog["real"],
                    messages=dialog["messages"][: places[dialog["start"] - 1]],
                    previous=programs[dialog["start"] - 2],
                )
            )
    return walks


def _programs(format: str, messages: Sequence[Message]) -> list[str]:
    """The programs that a dialog's student turns hand in, each read on top of the one before."""
    programs: list[str] = []
    for message in messages:
        if message["role"] == "assistant":
            programs.append(read_turn(format, programs[-1] if programs else None, message["content"]))
    return programs


def _known(submissions: pl.DataFrame, verdicts: pl.DataFrame) -> dict[tuple[str, str], Verdict]:
    """The verdicts of the real submissions, by assignment and code."""
    rows = submissions.select("submission_id", "assignment", "code").join(verdicts, on="submission_id")
    return {(row["assignment"], row["code"]): Verdict.from_row(row) for row in rows.iter_rows(named=True)}


def _advance(
    walks: Sequence[_Walk],
    step: int,
    engine: Engine,
    grader: Grader,
    verdicts: dict[tuple[str, str], Verdict],
    steps: int,
) -> None:
    """Takes one step with each of `walks`; adds what was graded to `verdicts`."""
    attempts = engine.next_programs([Situation(walk.messages, walk.previous) for walk in walks])
    read: list[tuple[_Walk, str]] = []
    for walk, attempt in zip(walks, attempts, strict=True):
        if attempt.program is None:
            walk.rows.append(_row(walk, step, Outcome.UNREADABLE, status=attempt.reason))
            walk.stop = StopReason.UNREADABLE
        else:
            read.append((walk, attempt.program))
    new = {(walk.assignment.name, program): walk.assignment for walk, program in read}
    new = {key: assignment for key, assignment in new.items() if key not in verdicts}
    graded = grader.grade([(assignment, program) for (_, program), assignment in new.items()])
    verdicts.update(zip(new, graded, strict=True))
    for walk, program in read:
        verdict = verdicts[walk.assignment.name, program]
        words = feedback(verdict, level=engine.feedback)
        walk.rows.append(
            _row(
                walk,
                step,
                Outcome.PROGRAM,
                code=program,
                feedback=words,
                **verdict.to_row(),
            )
        )
        if verdict.grade == 100:
            walk.stop = StopReason.SOLVED
        elif step == steps:
            walk.stop = StopReason.STEPS
        else:
            walk.messages = [
                *walk.messages,
                {"role": "assistant", "content": write_turn(engine.format, walk.previous, program)},
                {"role": "user", "content": feedback_turn(engine.format, words, program)},
            ]
            walk.previous = program


def _row(walk: _Walk, step: int, outcome: Outcome, **values: Any) -> dict[str, Any]:
    return {
        "dialog_id": walk.dialog_id,
        "start": walk.start,
        "step": step,
        "sample": walk.sample,
        "outcome": str(outcome),
        "submission_id": walk.real[step - 1] if step <= len(walk.real) else None,
        **values,
    }

"""Rolls an engine out: it continues the work of real students, step by step, against the grader.

The protocol of Koutcheme et al. (arXiv 2604.10720): for a held-out trajectory of N submissions and each
start k = 2..N, the engine reads the real history before submission k, writes the next submission, gets the
grader's feedback on its own program, and goes on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import NonNegativeFloat, PositiveInt, model_validator
from tqdm import tqdm

from tutee_evaluator.engines import Engine
from tutee_evaluator.schemas import ROLLOUTS, Outcome, StopReason
from tutee_grader.config import Section
from tutee_grader.errors import InputError
from tutee_grader.feedback import feedback
from tutee_grader.verdict import Verdict
from tutee_serializer.dialogs.dialog import Dialog

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment
    from tutee_grader.grader import Grader


class RolloutConfig(Section):
    """Section `rollout` of params.yaml.

    `max_starts` caps the number of starts, drawn with `seed`; every method gets the same ones. `samples`
    rollouts are made from each start; `temperature` 0 takes the likeliest token.
    """

    max_starts: PositiveInt = 80
    steps: PositiveInt = 5
    samples: PositiveInt = 1
    temperature: NonNegativeFloat = 0.0
    seed: int = 2022

    @model_validator(mode="after")
    def _samples_differ(self) -> "RolloutConfig":
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("samples above 1 need a temperature above 0, else they are all the same")
        return self


def roll_out(
    method: str,
    engine: Engine,
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    assignments: "Mapping[str, Assignment]",
    grader: "Grader",
    config: RolloutConfig,
    *,
    known: Mapping[tuple[str, str], Verdict] | None = None,
    progress: bool = False,
) -> pl.DataFrame:
    """Rolls `engine` out from the drawn starts of the held-out dialogs (DIALOGS); returns ROLLOUTS.

    All rollouts advance together: each step is one batch of writing and one batch of grading. A program
    with a verdict in `known`, by assignment and code, is not graded again. Raises InputError where the
    held-out dialogs give nothing to roll out.
    """
    rollouts = _start(engine, dialogs, submissions, assignments, config)
    verdicts = dict(known or {})
    steps = range(1, config.steps + 1)
    for step in tqdm(steps, f"rollout {method}", unit="step", disable=None if progress else True):
        running = [rollout for rollout in rollouts if rollout.stop is None]
        if running:
            _advance(running, engine, grader, verdicts, last=step == config.steps)
    rows: list[dict[str, Any]] = []
    for rollout in rollouts:
        rollout.add_ended(config.steps)
        rows += [{**row, "method": method, "stop_reason": rollout.stop} for row in rollout.rows]
    return pl.DataFrame(rows, schema=ROLLOUTS)


def draw_starts(dialogs: pl.DataFrame, submissions: pl.DataFrame, config: RolloutConfig) -> pl.DataFrame:
    """The starts to roll out from: columns dialog_id, student, assignment, start, real.

    Each start k = 2..N of a held-out trajectory of N submissions is the history before submission k;
    `start` counts the dialog's turns from 1, and `real` lists the ids of the real submissions from
    there on. The draw depends on the seed and the submissions, not on the format and feedback of the
    dialogs, so every method gets the same starts.
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


def known_verdicts(submissions: pl.DataFrame, verdicts: pl.DataFrame) -> dict[tuple[str, str], Verdict]:
    """The verdicts of the real submissions, by assignment and code."""
    rows = submissions.select("submission_id", "assignment", "code").join(verdicts, on="submission_id")
    return {(row["assignment"], row["code"]): Verdict.from_row(row) for row in rows.iter_rows(named=True)}


@dataclass
class Rollout:
    """One rollout in progress: its dialog up to now and its ROLLOUTS rows, without the method.

    `real` lists the ids of the real submissions from the start on.
    """

    dialog_id: str
    assignment: "Assignment"
    start: int
    sample: int
    real: list[str]
    dialog: Dialog
    stop: StopReason | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add_unreadable(self, reason: str | None) -> None:
        """Adds a step whose turn holds no program, which ends the rollout."""
        self._add(Outcome.UNREADABLE, status=reason)
        self.stop = StopReason.UNREADABLE

    def add_program(self, program: str, repair: str | None, verdict: Verdict, last: bool) -> None:
        """Adds a step with a graded program; `last`: no step may follow."""
        text = feedback(verdict, self.dialog.feedback)
        self._add(Outcome.PROGRAM, code=program, repair=repair, feedback=text, **verdict.to_row())
        if verdict.grade == 100:
            self.stop = StopReason.SOLVED
        elif last:
            self.stop = StopReason.STEPS
        else:
            self.dialog.append(program, text)

    def add_ended(self, steps: int) -> None:
        """Adds the steps up to `steps` at which only the real student submitted something."""
        while len(self.rows) < min(steps, len(self.real)):
            self._add(Outcome.ENDED)

    def _add(self, outcome: Outcome, **values: Any) -> None:
        step = len(self.rows) + 1
        row = {
            "dialog_id": self.dialog_id,
            "start": self.start,
            "step": step,
            "sample": self.sample,
            "outcome": outcome,
            "submission_id": self.real[step - 1] if step <= len(self.real) else None,
        }
        self.rows.append({**row, **values})


def _start(
    engine: Engine,
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    assignments: "Mapping[str, Assignment]",
    config: RolloutConfig,
) -> list[Rollout]:
    """The rollouts before their first step, in the order of the starts."""
    starts = draw_starts(dialogs, submissions, config)
    if starts.is_empty():
        raise InputError(
            "no held-out student submitted twice for an assignment, so there is no start to roll out from; "
            "see `semesters: test` of the course file and the rules under `serialize` in params.yaml"
        )
    readable = dialogs.filter(
        (pl.col("feedback") == engine.feedback) & (pl.col("format") == engine.format)
    ).drop("student", "assignment")
    chosen = starts.join(readable, on="dialog_id", maintain_order="left")
    if chosen.height != starts.height:
        raise InputError(
            f"{starts.height - chosen.height} of {starts.height} held-out starts have no dialog of format "
            f"{engine.format!r} and feedback {engine.feedback!r}, which this student was trained on; "
            "run `tutee serialize` with the preset it was trained with"
        )
    return [
        Rollout(
            dialog_id=row["dialog_id"],
            assignment=assignments[row["assignment"]],
            start=row["start"],
            sample=sample,
            real=row["real"],
            dialog=Dialog.from_row(row).before(row["start"]),
        )
        for row in chosen.iter_rows(named=True)
        for sample in range(config.samples)
    ]


def _advance(
    rollouts: Sequence[Rollout],
    engine: Engine,
    grader: "Grader",
    verdicts: dict[tuple[str, str], Verdict],
    last: bool,
) -> None:
    """Adds one step, the last one or not, to each of `rollouts`, and the new verdicts to `verdicts`."""
    completions = engine.complete([rollout.dialog for rollout in rollouts])
    programs: list[tuple[Rollout, str, str | None]] = []
    for rollout, completion in zip(rollouts, completions, strict=True):
        if completion.program is None:
            rollout.add_unreadable(completion.reason)
        else:
            programs.append((rollout, completion.program, completion.repair))
    new = {(rollout.assignment.name, program): rollout.assignment for rollout, program, _ in programs}
    new = {key: assignment for key, assignment in new.items() if key not in verdicts}
    graded = grader.grade([(assignment, program) for (_, program), assignment in new.items()])
    verdicts.update(zip(new, graded, strict=True))
    for rollout, program, repair in programs:
        rollout.add_program(program, repair, verdicts[rollout.assignment.name, program], last)

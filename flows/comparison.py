"""Rolls out students that are no stage of the pipeline, from a preset's starts, and compares them."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from flows.environment import disable_hub
from flows.finding import FoundStudent, find_student
from flows.parameters import Setup
from flows.provenance import rollouts_key
from flows.tables import Tables
from tutee_evaluator.engines import Engine
from tutee_evaluator.engines.in_context import in_context
from tutee_evaluator.engines.loading import load_student
from tutee_evaluator.engines.openai import OpenAIStudent
from tutee_evaluator.evaluate import evaluate
from tutee_evaluator.report.exports import write_figures, write_tables
from tutee_evaluator.report.page import write_report
from tutee_evaluator.rollout.grading import known_verdicts
from tutee_evaluator.rollout.run import roll_out
from tutee_evaluator.schemas import BASELINE_METHODS, ROLLOUTS
from tutee_grader.errors import InputError
from tutee_grader.files import read_table, scan_tables, write_table
from tutee_grader.grader import Grader
from tutee_grader.verdict import VERDICTS
from tutee_serializer.card import FILE as CARD
from tutee_serializer.card import StudentCard
from tutee_serializer.schemas import DIALOGS, SUBMISSIONS


@dataclass(frozen=True)
class Row:
    """A student of a comparison; a baseline and an endpoint have no card."""

    name: str
    description: str
    rollouts: Path
    card: Path | None


def compare(named: Sequence[str], setup: Setup) -> pl.DataFrame:
    """METRICS of the students of these names and of the baselines, with each one's differences to the first.

    Writes the report, with tables and figures. A baseline and a method of the preset must have been rolled
    out; others are now. Raises InputError where a name names no student, or the rollouts do not fit.
    """
    places, parameters = setup.places, setup.parameters
    found, steps, metrics = evaluate_together([*BASELINE_METHODS, *named], setup, reference=named[0])
    rows = {row.name: row for row in found.values()}
    write_report(
        setup.course,
        steps,
        metrics,
        parameters.report,
        json.loads(places.account.read_text(encoding="utf-8")),
        [StudentCard.read(row.card) for row in rows.values() if row.card],
        {"rollout": setup.preset.rollout.model_dump(mode="json")},
        {row.name: row.description for row in rows.values()},
        places.comparison / places.report.name,
    )
    write_table(metrics, places.comparison / places.metrics.name)
    write_tables(metrics, list(rows), places.comparison / places.tables.name)
    write_figures(metrics, list(rows), places.comparison / places.figures.name)
    return metrics


def evaluate_together(
    named: Sequence[str], setup: Setup, reference: str
) -> tuple[dict[str, Row], pl.DataFrame, pl.DataFrame]:
    """The students of these names, found and rolled out as for `compare`; and STEPS and METRICS of them.

    METRICS has the differences to `reference`, one of `named`. Raises InputError as `compare` does.
    """
    found = {name: _row(name, setup) for name in named}
    places, parameters = setup.places, setup.parameters
    steps, _, metrics = evaluate(
        scan_tables({row.rollouts: f"rollout {name}" for name, row in found.items()}, ROLLOUTS),
        read_table(places.dialogs, DIALOGS, "serialize"),
        read_table(places.submissions, SUBMISSIONS, "ingest"),
        read_table(places.verdicts, VERDICTS, "grade"),
        parameters.report,
        reference=found[reference].name,
        cluster=parameters.grade.cluster,
        progress=True,
    )
    return found, steps, metrics


def _row(name: str, setup: Setup) -> Row:
    places, own = setup.places, setup.parameters.compared
    if name not in own:
        student, table = roll_out_named(name, setup)
        card = student.model / CARD if isinstance(student.model, Path) else None
        return Row(student.name, student.description, table, card)
    table, of_method = places.rollout(name), places.rollout_card(name)
    if not table.exists():
        raise InputError(f"{table}: missing; run `tutee rollout {name}` first")
    return Row(name, own[name], table, of_method if of_method.exists() else None)


def roll_out_named(name: str, setup: Setup) -> tuple[FoundStudent, Path]:
    """The student of this name and the table of its rollouts, which are made now unless they are there.

    Raises InputError where the name names no student.
    """
    student = find_student(name, setup.parameters.students, setup.places)
    table = rollouts_of(student, setup)
    if not table.exists():
        _roll_out_to(table, student, setup)
    return student, table


def rollouts_of(student: FoundStudent, setup: Setup) -> Path:
    """Where the rollouts of a student that is no stage of the pipeline are kept."""
    model = student.model if isinstance(student.model, Path) else None
    key = rollouts_key(setup.places, setup.preset.rollout, model, student.row.model_dump_json())
    return setup.places.compared / f"{student.name}-{key}.parquet"


def _roll_out_to(table: Path, student: FoundStudent, setup: Setup) -> None:
    """Writes ROLLOUTS of a student from the preset's starts, in the student's own format, to `table`."""
    disable_hub(setup.preset)
    places, parameters = setup.places, setup.parameters
    tables = Tables.read(setup, student.reads)
    unfinished = table.with_suffix("")
    with Grader(cache=places.verdict_cache) as grader:
        roll_out(
            student.name,
            engine_maker(student, tables.dialogs, setup),
            tables.dialogs,
            tables.submissions,
            setup.course.load_assignments()[0],
            grader,
            setup.preset.rollout,
            table,
            known=known_verdicts(tables.submissions, tables.verdicts),
            folder=unfinished,
            cluster=parameters.grade.cluster,
            progress=True,
        )
    shutil.rmtree(unfinished, ignore_errors=True)


def engine_maker(student: FoundStudent, dialogs: pl.DataFrame, setup: Setup) -> Callable[[], Engine]:
    """What makes the engine that plays the student, here or in a process of a cluster."""
    make: Callable[[], Engine]
    if isinstance(student.model, Path):
        make = partial(load_student, student.model.resolve(), setup.parameters.engine)
    else:
        make = partial(OpenAIStudent, student.model)
    if student.row.examples is None:
        return make
    return partial(_prompted, make, dialogs, student.row.examples)


def _prompted(make: Callable[[], Engine], dialogs: pl.DataFrame, examples: int) -> Engine:
    return in_context(make(), dialogs, examples=examples)

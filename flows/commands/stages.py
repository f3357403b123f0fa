"""The stages of dvc.yaml, each from files to files."""

from enum import StrEnum
from typing import Annotated

import typer

from flows.commands.said import count, line
from flows.telemetry import stay_off_the_hub

CourseArgument = Annotated[
    str, typer.Argument(metavar="COURSE", help="A course file, or a course's name in params.yaml.")
]


class Model(StrEnum):
    """What `tutee train` trains."""

    BASE = "base"
    SFT = "sft"
    PARA = "para"
    DPO = "dpo"
    DAPO = "dapo"


def source(course: CourseArgument) -> None:
    """Runs the course's simulator, if it has one, and notes the hashes of all that the course reads."""
    from flows.parameters import load
    from flows.places import Places
    from tutee_serializer.ingest.source import collect

    setup = load(course)
    with line("source") as said:
        collected = collect(setup.course, Places(setup.course.name))
        said.text = f"{setup.course.file} -> hashes of {count(len(collected.files), 'files')}"
        if setup.course.synthetic:
            said.text += ", a synthetic class" + (", simulated anew" if collected.simulated else "")


def ingest(course: CourseArgument) -> None:
    """Reads and validates the log: submissions, quarantine, row account, Data Docs."""
    from flows.parameters import load
    from flows.places import Places
    from tutee_serializer.ingest.ingest import ingest

    setup = load(course)
    with line("ingest") as said:
        account = ingest(setup.course, setup.parameters.ingest, Places(setup.course.name)).account
        said.text = (
            f"{count(account.rows('in'), 'rows')} -> {account.rows('kept'):,} kept + "
            f"{account.rows('quarantine'):,} quarantined + "
            f"{account.rows('filter'):,} left out by named filters"
        )
    for warning in account.warnings:
        print(f"ingest: {warning}")
    for name, reason in account.broken_assignments.items():
        print(f"ingest: assignment {name} is left out: {reason}")


def grade(course: CourseArgument) -> None:
    """Grades every submission in the sandbox."""
    import shutil

    from flows.parameters import load
    from flows.places import Places
    from tutee_grader import grade_table
    from tutee_grader.files import read_table, write_table

    setup = load(course, logs=False)
    places = Places(setup.course.name)
    with line("grade") as said:
        submissions = read_table(places.submissions, "ingest")
        assignments, _ = setup.course.load_assignments()
        # Finished partitions wait here while others are graded, so that a killed run goes on.
        parts = places.data / "grading"
        verdicts = grade_table(
            submissions,
            assignments,
            parts,
            cache=places.verdict_cache,
            cluster=setup.parameters.grade.cluster,
        )
        write_table(verdicts, places.verdicts)
        shutil.rmtree(parts)
        full = verdicts["grade"].eq(100).sum() / max(verdicts.height, 1)
        said.text = (
            f"{count(submissions.height, 'submissions')} -> {count(verdicts.height, 'verdicts')}, "
            f"{full:.0%} at 100"
        )


def serialize(course: CourseArgument) -> None:
    """Turns graded submissions into dialogs."""
    import polars as pl

    from flows.parameters import load
    from flows.places import Places
    from tutee_grader.files import read_table, write_table
    from tutee_serializer.dialogs.serialize import serialize

    setup = load(course, logs=False)
    places = Places(setup.course.name)
    with line("serialize") as said:
        submissions = read_table(places.submissions, "ingest")
        dialogs, account = serialize(
            submissions,
            read_table(places.verdicts, "grade"),
            setup.course,
            setup.parameters.serialize,
            setup.preset.dialog.format,
            setup.preset.dialog.feedback,
        )
        write_table(dialogs, places.dialogs)
        told = dialogs.filter(pl.col("feedback") != "none")
        splits = ", ".join(
            f"{number:,} {split}" for split, number in sorted(told["split"].value_counts().iter_rows())
        )
        left = ", ".join(f"{number:,} {step}" for step, number in account.dropped.items() if number)
        said.text = (
            f"{count(submissions.height, 'submissions')} -> {count(told.height, 'dialogs')} ({splits}) of "
            f"{told['turns'].list.len().sum():,} turns" + (f", left out: {left}" if left else "")
        )


def train(model: Model, course: CourseArgument) -> None:
    """Trains the base, or one of the adapters on it."""
    from flows.parameters import load
    from flows.places import Places

    setup = load(course, logs=False)
    stay_off_the_hub(setup.preset)
    preset, places = setup.preset, Places(setup.course.name)
    match model:
        case Model.BASE:
            from tutee_trainer.base import train_base

            trained = train_base(preset, places)
        case Model.SFT | Model.PARA:
            from tutee_trainer.sft import train_sft

            trained = train_sft(preset, places, "para" if model is Model.PARA else "sft")
        case Model.DPO:
            from tutee_trainer.dpo import train_dpo

            trained = train_dpo(preset, places)
        case Model.DAPO:
            from tutee_trainer.dapo import train_dapo

            trained = train_dapo(preset, places, setup.course.load_assignments()[0])
    print(f"{model}: {trained}", flush=True)


def pairs(course: CourseArgument) -> None:
    """Makes preference pairs for DPO from the training dialogs."""
    from flows.parameters import load
    from flows.places import Places
    from tutee_trainer.pairs import write_pairs

    setup = load(course, logs=False)
    with line("pairs") as said:
        dialogs, made = write_pairs(setup.parameters.pairs, setup.preset, Places(setup.course.name))
        said.text = f"{count(dialogs, 'dialogs')} -> {count(made, 'pairs')}"


def rollout(method: str, course: CourseArgument) -> None:
    """Lets one method (copy, base, para, sft, dpo, dapo) work on from where held-out students stood."""
    from flows.parameters import load
    from flows.places import Places
    from tutee_evaluator.rollout import run

    setup = load(course, logs=False)
    stay_off_the_hub(setup.preset)
    with line(f"rollout {method}") as said:
        rollouts = run(setup.course, method, setup.parameters.rollout, Places(setup.course.name))
        starts = rollouts.select("dialog_id", "start").n_unique()
        said.text = f"{count(starts, 'starts')} -> {count(rollouts.height, 'steps')}"


def report(course: CourseArgument) -> None:
    """Measures the rollouts and writes the HTML report."""
    import polars as pl

    from flows.parameters import load
    from flows.places import Places
    from tutee_evaluator.metrics import REAL
    from tutee_evaluator.report import run

    setup = load(course, logs=False)
    places = Places(setup.course.name)
    with line("report") as said:
        shown = setup.parameters.model_dump(mode="json", include={"rollout", "serialize", "pairs"})
        metrics = run(setup.course, setup.parameters.report, places, shown)
        methods = metrics.filter(pl.col("method") != REAL)["method"].n_unique()
        said.text = f"rollouts of {methods} methods -> {metrics.height:,} figures, {places.report}"

"""The stages of dvc.yaml, each from files to files. A test derives their dependencies from this file."""

from typing import Annotated

import typer

from flows.commands.summary import count, summary_line

CourseArgument = Annotated[
    str, typer.Argument(metavar="COURSE", help="A course file, or a course's name in params.yaml.")
]
PresetOption = Annotated[
    str | None, typer.Option(help="A file of presets/, without .yaml; by default that of params.yaml.")
]
StudentArgument = Annotated[
    str,
    typer.Argument(
        metavar="[STUDENT]", help="A method, PRESET/METHOD, an adapter's folder or models:/tutee-COURSE/3."
    ),
]


def source(course: CourseArgument) -> None:
    """Runs the course's simulator, if it has one, and writes the hashes of all files the course reads."""
    from flows.parameters import load
    from tutee_serializer.ingest.privacy import read_forgotten, write_forgotten
    from tutee_serializer.ingest.source import collect

    setup = load(course)
    places = setup.places
    with summary_line("source") as summary:
        collected = collect(setup.course, places.inputs, places.simulated)
        write_forgotten(read_forgotten(*places.forgotten_lists), places.forgotten_noted)
        summary.text = f"{setup.course.file} -> hashes of {count(len(collected.files), 'files')}"
        if setup.course.synthetic:
            summary.text += ", a synthetic class" + (", simulated again" if collected.simulated else "")


def ingest(course: CourseArgument) -> None:
    """Reads and validates the log: submissions, quarantine, row account, Data Docs."""
    from flows.parameters import load
    from tutee_serializer.ingest.ingest import ingest
    from tutee_serializer.ingest.privacy import load_key, read_forgotten

    setup = load(course)
    places = setup.places
    with summary_line("ingest") as summary:
        account = ingest(
            setup.course,
            setup.parameters.ingest,
            load_key(places.key, places.accounts),
            read_forgotten(places.forgotten_noted),
            places.simulated,
            submissions=places.submissions,
            quarantine=places.quarantine,
            demographics=places.demographics,
            account=places.account,
            data_docs=places.data_docs,
        )
        summary.text = (
            f"{count(account.rows('in'), 'rows')} -> {account.rows('kept'):,} kept + "
            f"{account.rows('quarantine'):,} quarantined + "
            f"{account.rows('filter'):,} left out by named filters"
        )
    for line in account.semesters:
        print(f"ingest: {line}")
    for note, number in account.notes.items():
        print(f"ingest: {note}: {number:,}")
    for warning in account.warnings:
        print(f"ingest: {warning}")
    for name, reason in account.broken_assignments.items():
        print(f"ingest: assignment {name} is left out: {reason}")


def grade(course: CourseArgument) -> None:
    """Grades every submission in the sandbox."""
    import shutil

    from flows.parameters import load
    from tutee_grader.files import read_table, write_table
    from tutee_grader.table import grade_table
    from tutee_serializer.ingest.account import RowAccount
    from tutee_serializer.ingest.drift import validate_errors
    from tutee_serializer.schemas import SUBMISSIONS

    setup = load(course, logs=False)
    places = setup.places
    with summary_line("grade") as summary:
        submissions = read_table(places.submissions, SUBMISSIONS, "ingest")
        verdicts = grade_table(
            submissions,
            setup.course.load_assignments()[0],
            places.partitions,
            cache=places.verdict_cache,
            cluster=setup.parameters.grade.cluster,
        )
        write_table(verdicts, places.verdicts)
        shutil.rmtree(places.partitions)
        full = verdicts["grade"].eq(100).sum() / max(verdicts.height, 1)
        summary.text = (
            f"{count(submissions.height, 'submissions')} -> {count(verdicts.height, 'verdicts')}, "
            f"{full:.0%} at 100"
        )
    config, account = setup.parameters.ingest, RowAccount.load(places.account)
    for warning in validate_errors(account, submissions, verdicts, config.warn_drift, config.max_drift):
        print(f"grade: {warning}")


def serialize(course: CourseArgument, preset: PresetOption = None) -> None:
    """Turns graded submissions into dialogs."""
    import polars as pl

    from flows.parameters import load
    from tutee_serializer.dialogs.serialize import write_dialogs

    setup = load(course, preset, logs=False)
    places = setup.places
    with summary_line("serialize") as summary:
        counts = write_dialogs(
            places.submissions,
            places.verdicts,
            setup.course,
            setup.parameters.serialize,
            setup.preset.format,
            setup.preset.dialog.feedback,
            places.dialogs,
        )
        table = pl.scan_parquet(places.dialogs).filter(pl.col("feedback") != "none")
        # What is context in one dialog of the scope course is a turn of another.
        submission = pl.col("turns").explode().struct.field("submission_id")
        turns = table.select(submission.n_unique()).collect(engine="streaming").item()
        by_split = table.group_by("split").len().sort("split").collect(engine="streaming").rows()
        dialogs = sum(number for _, number in by_split)
        splits = ", ".join(f"{number:,} {split}" for split, number in by_split)
        left_out = ", ".join(f"{number:,} {step}" for step, number in counts.dropped.items() if number)
        summary.text = (
            f"{count(counts.rows_in, 'submissions')} -> {count(dialogs, 'dialogs')} "
            f"({splits}) of {turns:,} turns" + (f", left out: {left_out}" if left_out else "")
        )


def train(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="base, sft, para, dpo, dapo, ...")],
    course: CourseArgument,
    preset: PresetOption = None,
) -> None:
    """Trains the base model, or an adapter on it, by one method."""
    from flows.environment import disable_hub
    from flows.parameters import load, method_named
    from flows.registry import Registry
    from flows.tracking import train
    from tutee_trainer.training import TrainingJob

    row = method_named(method)
    setup = load(course, preset, logs=False)
    disable_hub(setup.preset)
    places = setup.places
    warm_start = setup.parameters.warm_start if method == "sft" else None
    tables = {"dialogs": places.dialogs, "pairs": places.pairs}
    job = TrainingJob(
        preset=setup.preset,
        course=setup.course.name,
        output=places.model(method),
        base=places.model("base"),
        start=places.model(row.start or "base"),
        data=tables[row.learns_from],
        dialogs=places.dialogs,
        checkpoints=places.checkpoints(method),
        assignments=setup.course.load_assignments()[0] if row.uses_grader else {},
        verdict_cache=places.verdict_cache,
        warm_start=Registry(places).adapter(warm_start) if warm_start else None,
    )
    print(f"{method}: {train(row, job, places)}", flush=True)


def pairs(course: CourseArgument, preset: PresetOption = None) -> None:
    """Makes preference pairs from the training dialogs."""
    from flows.parameters import load
    from tutee_trainer.pairs import write_pairs

    setup = load(course, preset, logs=False)
    places = setup.places
    with summary_line("pairs") as summary:
        dialogs, made = write_pairs(setup.parameters.pairs, setup.preset, places.dialogs, places.pairs)
        summary.text = f"{count(dialogs, 'dialogs')} -> {count(made, 'pairs')}"


def rollout(
    method: Annotated[
        str,
        typer.Argument(metavar="METHOD", help="A trained method, a baseline, or as for `tutee compare`."),
    ],
    course: CourseArgument,
    preset: PresetOption = None,
) -> None:
    """Rolls one method out from where held-out students stood."""
    import shutil
    from functools import partial

    import polars as pl

    from flows.comparison import roll_out_named
    from flows.environment import disable_hub
    from flows.named import is_method
    from flows.parameters import load
    from flows.provenance import rollouts_key
    from tutee_evaluator.engines.baselines import BASELINES
    from tutee_evaluator.engines.loading import load_engine
    from tutee_evaluator.memorisation.exposure import measure_exposures
    from tutee_evaluator.rollout.grading import known_verdicts
    from tutee_evaluator.rollout.run import roll_out
    from tutee_grader.files import read_table, write_table
    from tutee_grader.grader import Grader
    from tutee_grader.verdict import VERDICTS
    from tutee_serializer import card
    from tutee_serializer.schemas import DIALOGS, SUBMISSIONS

    setup = load(course, preset, logs=False)
    if not is_method(method):
        with summary_line(f"rollout {method}") as summary:
            _, table = roll_out_named(method, setup)
            summary.text = f"-> {table}"
        return
    disable_hub(setup.preset)
    places = setup.places
    with summary_line(f"rollout {method}") as summary:
        dialogs = read_table(places.dialogs, DIALOGS, "serialize")
        submissions = read_table(places.submissions, SUBMISSIONS, "ingest")
        known = known_verdicts(submissions, read_table(places.verdicts, VERDICTS, "grade"))
        key = rollouts_key(places, setup.preset.rollout, places.model(method))
        folder = places.unfinished_rollouts(method, key)
        make_engine = partial(
            load_engine, method, places.model(method).resolve(), dialogs, setup.parameters.engine
        )
        with Grader(cache=places.verdict_cache) as grader:
            rollouts = roll_out(
                method,
                make_engine,
                dialogs,
                submissions,
                setup.course.load_assignments()[0],
                grader,
                setup.preset.rollout,
                places.rollout(method),
                known=known,
                folder=folder,
                cluster=setup.parameters.grade.cluster,
                progress=True,
            )
        shutil.rmtree(folder, ignore_errors=True)
        if method not in BASELINES:
            exposures = measure_exposures(method, make_engine, dialogs, progress=True)
            write_table(exposures, places.exposures(method))
            shutil.copyfile(places.model(method) / card.FILE, places.rollout_card(method))
        starts, steps = rollouts.select(pl.struct("dialog_id", "start").n_unique(), pl.len()).collect().row(0)
        summary.text = f"{count(starts, 'starts')} -> {count(steps, 'steps')}"


def report(course: CourseArgument, preset: PresetOption = None) -> None:
    """Measures the rollouts and writes the HTML report."""
    import json

    import polars as pl

    from flows.parameters import load
    from tutee_evaluator.evaluate import evaluate
    from tutee_evaluator.memorisation.figures import measure_memorisation
    from tutee_evaluator.report.exports import write_figures, write_metrics, write_solved, write_tables
    from tutee_evaluator.report.page import write_report
    from tutee_evaluator.schemas import EXPOSURES, ROLLOUTS
    from tutee_grader.errors import InputError
    from tutee_grader.files import read_table, scan_tables, write_table
    from tutee_grader.verdict import VERDICTS
    from tutee_serializer.card import StudentCard
    from tutee_serializer.ingest.drift import DRIFT, with_errors
    from tutee_serializer.schemas import DIALOGS, SUBMISSIONS

    setup = load(course, preset, logs=False)
    places = setup.places
    with summary_line("report") as summary:
        compared = setup.parameters.compared.items()
        methods = {name: text for name, text in compared if places.rollout(name).exists()}
        if not methods:
            raise InputError(f"{places.rollouts}: no rollouts; run `tutee rollout` first")
        rollouts = scan_tables({places.rollout(name): f"rollout {name}" for name in methods}, ROLLOUTS)
        dialogs = read_table(places.dialogs, DIALOGS, "serialize")
        submissions = read_table(places.submissions, SUBMISSIONS, "ingest")
        verdicts = read_table(places.verdicts, VERDICTS, "grade")
        steps, _, metrics = evaluate(
            rollouts,
            dialogs,
            submissions,
            verdicts,
            setup.parameters.report,
            cluster=setup.parameters.grade.cluster,
            progress=True,
        )
        exposures = [
            read_table(file, EXPOSURES, f"rollout {name}")
            for name in methods
            if (file := places.exposures(name)).exists()
        ]
        memorised = measure_memorisation(
            rollouts,
            dialogs,
            submissions,
            setup.course.load_assignments()[0],
            pl.concat([pl.DataFrame(schema=EXPOSURES), *exposures]),
            setup.parameters.report,
        )
        metrics = pl.concat([metrics, memorised])
        account = json.loads(places.account.read_text(encoding="utf-8"))
        drift = pl.DataFrame(account["drift"], DRIFT)
        account["drift"] = with_errors(drift, submissions, verdicts).to_dicts()
        cards = [places.rollout_card(name) for name in methods]
        write_report(
            setup.course,
            steps,
            metrics,
            setup.parameters.report,
            account,
            [StudentCard.read(card) for card in cards if card.exists()],
            {
                **setup.parameters.model_dump(mode="json", include={"serialize", "pairs"}),
                "rollout": setup.preset.rollout.model_dump(mode="json"),
            },
            methods,
            places.report,
        )
        write_table(metrics, places.metrics)
        write_metrics(metrics, places.metrics_json)
        write_solved(metrics, list(methods), places.solved)
        write_tables(metrics, list(methods), places.tables)
        write_figures(metrics, list(methods), places.figures)
        summary.text = (
            f"rollouts of {count(len(methods), 'methods')} -> {metrics.height:,} figures, {places.report}"
        )

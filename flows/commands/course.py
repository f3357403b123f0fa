"""Checking a course, and moving its logs, without training anything."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.stages import CourseArgument
from flows.commands.summary import count, summary_line


def validate(course: CourseArgument) -> None:
    """Checks course, parameters, preset, and grades the reference solutions; ends with 1 where one fails."""
    from flows.errors import CheckError
    from flows.parameters import load
    from tutee_grader.grader import Grader
    from tutee_trainer.training import resolve

    setup = load(course)
    good, broken = setup.course.load_assignments()
    solved = [assignment for assignment in good.values() if assignment.solution is not None]
    with Grader() as grader:
        verdicts = grader.grade([(assignment, assignment.solution) for assignment in solved], progress=True)
    failed = [
        f"{assignment.name}: its reference solution gets grade {verdict.grade:.0f}, not 100: "
        + "; ".join(f"{test.name}: {test.message}" for test in verdict.tests if test.outcome != "passed")
        for assignment, verdict in zip(solved, verdicts, strict=True)
        if verdict.grade != 100
    ]
    print(
        f"course      {setup.course.file}: {setup.course.name}"
        + (" (synthetic)" if setup.course.synthetic else "")
    )
    print(f"parameters  {', '.join(sorted(setup.parameters.model_dump()))}: fine")
    print(f"preset      {setup.preset.name}: fine")
    print(
        f"assignments {len(good)} can be graded; {len(solved)} with a reference solution, of which "
        f"{len(solved) - len(failed)} get full marks"
    )
    for name, reason in broken.items():
        print(f"assignment {name} will be left out: {reason}")
    if failed:
        raise CheckError("\n".join(failed))
    for stage, settings in resolve(setup.preset).items():
        shown = ", ".join(f"{name}={value}" for name, value in settings.items())
        print(f"{stage:<11} {shown}")


def preview(course: CourseArgument) -> None:
    """Shows how a course's log is read, and what would be quarantined; writes no table."""
    from flows.parameters import load
    from flows.places import Places
    from tutee_serializer.ingest.ingest import parse_log
    from tutee_serializer.ingest.preview import preview
    from tutee_serializer.ingest.privacy import load_key, read_forgotten
    from tutee_serializer.ingest.source import collect

    setup = load(course)
    places = Places(setup.course.name)
    if setup.course.simulator:
        collect(setup.course, places.inputs, places.simulated)
    result = parse_log(
        setup.course,
        setup.parameters.ingest,
        load_key(places.key),
        read_forgotten(places.forgotten),
        places.simulated,
    )
    print(preview(setup.course, result))


def regrade(course: CourseArgument) -> None:
    """Compares the log's own scores with the grader's, and lists by assignment where they disagree."""
    import polars as pl

    from flows.parameters import load
    from flows.places import Places
    from tutee_grader.files import read_table
    from tutee_serializer.ingest.regrade import regrade

    places = Places(load(course, logs=False).course.name)
    table = regrade(read_table(places.submissions, "ingest"), read_table(places.verdicts, "grade"))
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(table)
    compared, disagree = table["compared"].sum(), table["disagree"].sum()
    print(
        f"regrade: {compared:,} submissions have a score in the log; the grader disagrees with {disagree:,}"
    )


def simulate(
    course: CourseArgument,
    out: Annotated[Path, typer.Option(help="The CSV file to write.")],
    seed: Annotated[int | None, typer.Option(help="In place of the course file's.")] = None,
) -> None:
    """Writes the log of a course's synthetic class to a file of your choice."""
    import shutil
    import tempfile

    from flows.parameters import load
    from tutee_grader.errors import InputError
    from tutee_serializer.ingest.source import collect

    described = load(course).course
    if described.simulator is None:
        raise InputError(f"{described.file}: `simulator` is missing, so there is no class to simulate")
    if seed is not None:
        simulator = described.simulator.model_copy(update={"seed": seed})
        described = described.model_copy(update={"simulator": simulator})
    with summary_line("simulate") as summary, tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.csv"
        collect(described, Path(folder) / "inputs.json", log)
        shutil.copyfile(log, out)
        summary.text = f"{described.file} -> {out}, the log of a synthetic class"


def export(
    course: CourseArgument,
    folder: Annotated[Path, typer.Argument(help="The folder to write the data set to.")],
) -> None:
    """Writes a course's submissions, under pseudonyms, as a ProgSnap2 data set."""
    from flows.parameters import load
    from flows.places import Places
    from tutee_grader.files import read_table
    from tutee_serializer.logs.export import export_progsnap

    places = Places(load(course, logs=False).course.name)
    with summary_line("export") as summary:
        submissions = read_table(places.submissions, "ingest")
        export_progsnap(submissions, folder)
        summary.text = f"{count(submissions.height, 'submissions')} -> {folder}"

"""Looking at a course, and moving its logs, without training anything."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.said import count, line
from flows.commands.stages import CourseArgument
from flows.errors import CheckError
from tutee_grader.errors import InputError


def validate(course: CourseArgument) -> None:
    """Checks course, parameters, preset, and grades the reference solutions; ends with 1 where one fails."""
    from flows.parameters import load
    from tutee_grader import Grader
    from tutee_trainer.arguments import resolve

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


def import_(
    course: CourseArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Must be given: `ingest` writes.")] = False,
) -> None:
    """Shows how a course's log is understood, and what would be quarantined; writes no table."""
    from flows.parameters import load
    from flows.places import Places
    from tutee_serializer.ingest.preview import preview
    from tutee_serializer.ingest.source import collect

    if not dry_run:
        raise InputError("import only shows: write `tutee import --dry-run`, or `tutee ingest`")
    setup = load(course)
    places = Places(setup.course.name)
    if setup.course.simulator:
        collect(setup.course, places)
    print(preview(setup.course, setup.parameters.ingest, places))


def regrade(course: CourseArgument) -> None:
    """Sets the log's own scores against the grader's, and lists by assignment where they disagree."""
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
    from flows.places import Places
    from tutee_serializer.ingest.source import collect

    made = load(course).course
    if made.simulator is None:
        raise InputError(f"{made.file}: `simulator` is missing, so there is no class to simulate")
    if seed is not None:
        made = made.model_copy(update={"simulator": made.simulator.model_copy(update={"seed": seed})})
    with line("simulate") as said, tempfile.TemporaryDirectory() as folder:
        places = Places(made.name, Path(folder))
        collect(made, places)
        shutil.copyfile(places.simulated, out)
        said.text = f"{made.file} -> {out}, the log of a synthetic class"


def export(
    course: CourseArgument,
    folder: Annotated[Path, typer.Argument(help="The folder to write the data set to.")],
) -> None:
    """Writes a course's submissions, under pseudonyms, as a ProgSnap2 data set."""
    from flows.parameters import load
    from flows.places import Places
    from tutee_grader.files import read_table
    from tutee_serializer.logs.progsnap import export_progsnap

    places = Places(load(course, logs=False).course.name)
    with line("export") as said:
        submissions = read_table(places.submissions, "ingest")
        export_progsnap(submissions, folder)
        said.text = f"{count(submissions.height, 'submissions')} -> {folder}"

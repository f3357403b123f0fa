"""Checking a course, and moving its logs, without training anything."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.stages import CourseArgument, PresetOption
from flows.commands.summary import count, summary_line


def validate(
    course: CourseArgument,
    preset: PresetOption = None,
) -> None:
    """Checks course, parameters, preset and machine, and says what a retrain will need.

    Grades the reference solutions; ends with 1 where one fails, with 3 where this machine lacks something.
    """
    from flows.course_log import read_log
    from flows.environment import disable_hub
    from flows.errors import CheckError
    from flows.needs import needs
    from flows.parameters import load
    from tutee_grader.grader import Grader
    from tutee_serializer.errors import LogError
    from tutee_serializer.ingest.assignments import NO_FOLDER, assignment_lines
    from tutee_trainer.pretrained import check
    from tutee_trainer.training import resolve, silence_libraries

    setup = load(course, preset)
    disable_hub(setup.preset)
    print(
        f"course      {setup.course.file}: {setup.course.name}"
        + (" (synthetic)" if setup.course.synthetic else "")
    )
    print(f"parameters  {', '.join(sorted(setup.parameters.model_dump()))}: fine")
    print(f"preset      {setup.preset.name}: fine")
    check(setup.preset)
    silence_libraries()
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
        f"assignments {len(good)} can be graded; {len(solved)} with a reference solution, of which "
        f"{len(solved) - len(failed)} get full marks"
    )
    for name, reason in broken.items():
        print(f"assignment {name} will be left out: {reason}")
    log = read_log(setup)
    print(f"semesters   {log.roles}")
    for line in log.account.semesters[1:]:
        print(line)
    unknown = log.assignments.filter(state=NO_FOLDER)
    if unknown.height:
        print(
            f"assignments {unknown.height:,} more in the log have no folder, so their rows go to quarantine:"
        )
        print("\n".join(assignment_lines(unknown)))
    bad, rows = log.account.rows("quarantine"), log.account.rows("in")
    most = setup.parameters.ingest.max_quarantined
    print(f"log         {rows:,} rows, of which {_share(bad, rows)} go to quarantine")
    if bad > most * rows:
        print(f"log         `tutee ingest` will stop: `ingest.max_quarantined` of params.yaml is {most}")
    if problems := [f"{setup.course.file}: {problem}" for problem in log.roles.problems()]:
        raise LogError("\n".join([*problems, *failed]))
    if failed:
        raise CheckError("\n".join(failed))
    for stage, settings in resolve(setup.preset).items():
        shown = ", ".join(f"{name}={value}" for name, value in settings.items())
        print(f"{stage:<11} {shown}")
    for line in needs(setup, log):
        print(line, flush=True)


def preview(course: CourseArgument) -> None:
    """Shows how a course's log is read, and what would be quarantined; writes no table.

    Works before any assignment is written, and lists all that the log names.
    """
    from flows.course_log import read_log
    from flows.parameters import load
    from tutee_serializer.ingest.preview import preview

    setup = load(course, assignments=False)
    print(preview(setup.course, read_log(setup, first_look=True)))


def regrade(course: CourseArgument) -> None:
    """Compares the log's own scores with the grader's, and writes the programs on which they disagree."""
    from flows.parameters import load
    from tutee_grader.files import read_table
    from tutee_grader.verdict import VERDICTS
    from tutee_serializer.ingest.regrade import disagreements, regrade, table_text, write_disagreements
    from tutee_serializer.schemas import SUBMISSIONS

    places = load(course, logs=False).places
    submissions = read_table(places.submissions, SUBMISSIONS, "ingest")
    verdicts = read_table(places.verdicts, VERDICTS, "grade")
    table = regrade(submissions, verdicts)
    write_disagreements(disagreements(submissions, verdicts), places.disagreements)
    print(table_text(table))
    sums = table.select("compared", "disagree", "logged_right", "not_compiling").sum()
    compared, disagree, right, not_compiling = sums.row(0)
    print(
        f"regrade: {count(compared, 'submissions')} with a score or a label in the log; the grader disagrees "
        f"with {_share(disagree, compared)}\n"
        f"regrade: {count(right, 'submissions')} that the log calls right, of which "
        f"{_share(not_compiling, right)} do not compile\n"
        f"regrade: the programs on which they disagree -> {places.disagreements}"
    )


def _share(part: int, whole: int) -> str:
    """12 (3.4%); 0."""
    return f"{part:,} ({100 * part / whole:.1f}%)" if whole else "0"


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
    from tutee_grader.files import read_table
    from tutee_serializer.logs.export import export_progsnap
    from tutee_serializer.schemas import SUBMISSIONS

    places = load(course, logs=False).places
    with summary_line("export") as summary:
        submissions = read_table(places.submissions, SUBMISSIONS, "ingest")
        export_progsnap(submissions, folder)
        summary.text = f"{count(submissions.height, 'submissions')} -> {folder}"

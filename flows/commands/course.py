"""Looking at a course before anything is trained on it."""

from typing import Annotated

import typer

from flows.commands.said import count
from flows.commands.stages import CourseArgument
from flows.errors import CheckError


def validate(course: CourseArgument) -> None:
    """Checks course, parameters, preset, and grades the reference solutions; ends with 1 where one fails."""
    from flows.parameters import load
    from tutee_grader import Grader

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
        + (" (made up)" if setup.course.made_up else "")
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


def import_(
    course: CourseArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The only way there is: `ingest` does import.")],
    rows: Annotated[int, typer.Option(help="How many submissions to show.")] = 3,
) -> None:
    """Shows how a course's log is understood, and what would be quarantined; writes nothing."""
    from flows.parameters import load
    from tutee_serializer.ingest import understand
    from tutee_serializer.places import Places
    from tutee_serializer.source import collect

    setup = load(course)
    places = Places(setup.course.name)
    if setup.course.simulator:
        collect(setup.course, places)
    found = understand(setup.course, setup.parameters.ingest, places)
    for source in found.account.sources:
        print(f"{source.name}: {count(source.rows, 'rows')}, {source.encoding}")
        for field, column in source.columns.items():
            print(f"  {field:<12} from column {column!r}")
        if source.unused:
            print(f"  left alone   {', '.join(source.unused)}")
    print(found.account)
    kept = found.submissions
    students, assignments = kept["student"].n_unique(), kept["assignment"].n_unique()
    semesters = ", ".join(kept["semester"].unique().sort())
    print(f"{count(students, 'students')}, {count(assignments, 'assignments')}, semesters {semesters}")
    for row in kept.head(rows).iter_rows(named=True):
        shown = {name: value for name, value in row.items() if name != "code" and value is not None}
        print(" ", ", ".join(f"{name}={value}" for name, value in shown.items()))
        print("\n".join(f"    {line}" for line in row["code"].splitlines()[:8]))
    for row in found.quarantine.head(rows).iter_rows(named=True):
        print(f"  quarantined: row {row['source_row']} of {row['source']}: {row['reason']} ({row['value']})")

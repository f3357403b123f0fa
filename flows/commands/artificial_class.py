"""An artificial class to give away."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.stages import CourseArgument, PresetOption


def class_(
    course: CourseArgument,
    students: Annotated[int, typer.Option(min=1, help="How many artificial students.")] = 200,
    method: Annotated[
        str | None,
        typer.Option(help="Who plays them, named as for compare; by default the best model of the report."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed draws another class.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write; by default reports/COURSE/PRESET/class.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an artificial class that is there.")] = False,
    preset: PresetOption = None,
) -> None:
    """Writes a semester of an artificial class to give away, as ProgSnap2 and as a table, with its audit."""
    from flows.artificial_class import make_class
    from flows.commands.summary import count, summary_line
    from flows.parameters import load
    from tutee_evaluator.artificial_class.realism import realism_table

    setup = load(course, preset, logs=False)
    folder = out or setup.places.artificial_class
    with summary_line("class") as summary:
        made = make_class(setup, students, method, seed, folder, overwrite)
        print(f"\n{realism_table(made.figures)}\n")
        print(f"privacy: {made.audit.copies}\nprivacy: {made.audit.stretches}")
        if made.has_look_ups:
            print(
                f"privacy: {made.player} is mixed with look-ups, which hand in programs of real students; "
                "a class to give away is better played by a model alone (--method sft)"
            )
        if not made.timed:
            print("class: the log has no times, so there are none here; attempts are numbered")
        summary.text = (
            f"{count(students, 'artificial students')}, played by {made.player}, handed in "
            f"{count(made.attempts, 'programs')} -> {folder}"
        )

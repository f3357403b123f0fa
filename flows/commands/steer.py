"""Leads held-out students from a wrong program to a right one in their own style."""

from typing import Annotated

import typer

from flows.commands.stages import CourseArgument, PresetOption, StudentArgument


def steer(
    course: CourseArgument,
    student: StudentArgument = "sft",
    limit: Annotated[int, typer.Option(min=1, help="How many wrong programs to start from.")] = 30,
    candidates: Annotated[int, typer.Option(min=1, max=64, help="Programs that are drawn for a step.")] = 8,
    steps: Annotated[int, typer.Option(min=1, max=10, help="Steps at most.")] = 3,
    weights: Annotated[
        str, typer.Option(help="Weights of guidance, the least first; 0 is the student alone.")
    ] = "0,0.5,1,1.5",
    solver: Annotated[
        str, typer.Option(help="The model that guides, with the student's tokens; named as STUDENT is.")
    ] = "base",
    seed: Annotated[int, typer.Option(help="Another seed draws other starts and programs.")] = 2022,
    preset: PresetOption = None,
) -> None:
    """Leads students from wrong programs to right ones by few changes in their style; writes figures."""
    from flows.commands.summary import count, summary_line
    from flows.parameters import load
    from flows.steering import read_config, steer
    from tutee_evaluator.steering.figures import figures_table

    config = read_config(weights, candidates=candidates, steps=steps, seed=seed)
    setup = load(course, preset, logs=False)
    with summary_line("steer") as summary:
        outcomes, metrics = steer(student, solver, limit, config, setup)
        right = sum(led.is_right for led in outcomes.steered)
        summary.text = (
            f"{right} of {count(len(outcomes.steered), 'wrong programs')} led to a right one by {student}, "
            f"guided by {solver} -> {setup.places.steering}"
        )
    print(f"\n{figures_table(metrics)}")

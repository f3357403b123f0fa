"""What a student's earlier assignments tell a model of the next submission."""

from typing import Annotated

import typer

from flows.commands.stages import CourseArgument, PresetOption, StudentArgument


def context(
    course: CourseArgument,
    student: StudentArgument = "sft",
    limit: Annotated[int, typer.Option(min=1, help="Submissions of each of the four splits, at most.")] = 50,
    samples: Annotated[int, typer.Option(min=2, help="Programs that are drawn for each forecast.")] = 8,
    seed: Annotated[int, typer.Option(help="Another seed draws other submissions and programs.")] = 2022,
    preset: PresetOption = None,
) -> None:
    """Measures what a student's earlier assignments tell a model of the next submission, in four splits."""
    from pathlib import Path

    import polars as pl

    from flows.commands.summary import count, summary_line
    from flows.environment import disable_hub
    from flows.finding import find_student
    from flows.parameters import load
    from flows.tables import Tables
    from tutee_evaluator.context import CELLS, ContextConfig, forecast, gains_table, measure
    from tutee_evaluator.engines.loading import load_student
    from tutee_grader.errors import InputError
    from tutee_grader.files import atomic_file

    setup = load(course, preset, logs=False)
    places, parameters = setup.places, setup.parameters
    found = find_student(student, parameters.students, places)
    if not isinstance(found.model, Path):
        raise InputError(f"{student}: an endpoint does not say how likely a turn is; name a model's folder")
    disable_hub(setup.preset)
    with summary_line("context") as summary:
        engine = load_student(found.model, parameters.engine)
        tables = Tables.read(setup, engine)
        drawn = ContextConfig(limit, samples, seed)
        forecasts = forecast(engine, tables.dialogs, tables.submissions, drawn, progress=True)
        gains = measure(forecasts, parameters.report)
        with atomic_file(places.context) as file:
            gains.write_csv(file)
        read = int((forecasts["read"] > 0).sum())
        summary.text = (
            f"{count(forecasts.height, 'held-out submissions')} of "
            f"{count(forecasts['student'].n_unique(), 'students')}, earlier assignments are read before "
            f"{read} -> {places.context}"
        )
    print(f"\n{gains_table(gains)}\n")
    unscored = forecasts.filter(pl.any_horizontal(pl.col("nats", "nats_alone").is_null())).height
    if unscored:
        print(f"context: {unscored} of them have no nats: too long for the model, or impossible to it")
    if read < forecasts.height:
        print(
            f"context: before {forecasts.height - read} no earlier turn fits `dialog.max_length` of the "
            f"preset that {found.name} was trained with, so none is read"
        )
    for cell in CELLS:
        if cell not in gains["stratum"]:
            print(f"context: there is none of {cell}; `serialize: {{split: both}}` holds out all four")

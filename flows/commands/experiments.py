"""Artificial students under study."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.stages import CourseArgument, PresetOption, StudentArgument


def compare(
    course: CourseArgument,
    students: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDENT...",
            help="A method, PRESET/METHOD, a folder, models:/tutee-COURSE/3, or a row of params.yaml.",
        ),
    ],
    preset: Annotated[
        str | None, typer.Option(help="Whose starts and number of samples; by default that of params.yaml.")
    ] = None,
) -> None:
    """Compares any students on the same starts, with differences to the first; rolls out who was not yet."""
    from flows.comparison import compare
    from flows.parameters import load
    from tutee_evaluator.report.tables import results_table

    setup = load(course, preset, logs=False)
    metrics = compare(students, setup)
    print(f"\n{results_table(metrics, metrics['method'].unique(maintain_order=True).to_list())}\n")
    print(f"report      {setup.places.comparison / 'report.html'}")


def experiment(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="EXPERIMENT.yaml", help="Which policies, on which class.")
    ] = None,
    validate: Annotated[
        bool, typer.Option("--validate", help="Check predictions on a course whose log has randomised arms.")
    ] = False,
    course: Annotated[str, typer.Option(help="With --validate: which course.")] = "arms",
    method: Annotated[str, typer.Option(help="With --validate: who plays the students.")] = "sft",
    samples: Annotated[int, typer.Option(min=1, help="With --validate: trajectories of each start.")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="With --validate: submissions of each.")] = 6,
    students: Annotated[
        int | None, typer.Option(min=2, help="With --validate: how many held-out ones; all by default.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="With --validate: a file of presets/, without .yaml.")
    ] = None,
) -> None:
    """Plays feedback policies on an artificial class, and says how they differ and how sure that is."""
    from tutee_grader.errors import InputError

    if validate == (file is not None):
        raise InputError("name the file of an experiment (docs/policies.md shows one), or give --validate")
    if file is not None:
        sources = {f"--{name}": context.get_parameter_source(name) for name in context.params}
        given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
        given.remove("--file")
        if given:
            raise InputError(
                f"{file}: {', '.join(given)}: only with --validate; an experiment's file says itself by what "
                "student and how it is played"
            )
        _play(file)
    else:
        _validate(course, method, samples, steps, students, preset)


def _play(file: Path) -> None:
    from flows.experiment import PAGE, Experiment, run_experiment
    from tutee_evaluator.experiments.tables import differences_table, outcomes_table

    found = Experiment.load(file)
    figures, primary = run_experiment(found), found.config.primary
    print(f"\n{outcomes_table(figures, primary)}\n\n{differences_table(figures, primary)}\n")
    print(f"report      {found.folder / PAGE}")


def _validate(
    course: str, method: str, samples: int, steps: int, students: int | None, preset: str | None
) -> None:
    from flows.parameters import load
    from flows.validation import NAME, run_validation
    from tutee_evaluator.experiments.validation import summary, validation_table

    setup = load(course, preset)
    table = run_validation(setup, method, samples, steps, students)
    print(f"\n{validation_table(table)}\n")
    for line in summary(table):
        print(f"validation: {line}")
    print(f"written to  {setup.places.experiment(NAME)}")


def responsiveness(
    course: CourseArgument,
    student: StudentArgument = "sft",
    students: Annotated[
        int | None, typer.Option(min=2, help="How many held-out students to start from; all by default.")
    ] = None,
    samples: Annotated[int, typer.Option(min=2, help="Turns drawn after each kind of feedback.")] = 8,
    preset: PresetOption = None,
) -> None:
    """Measures whether a student's next submission depends on feedback: helpful, irrelevant, misleading."""
    from flows.parameters import load
    from flows.responsiveness import run_responsiveness
    from tutee_evaluator.experiments.tables import responses_table

    setup = load(course, preset, logs=False)
    responses = run_responsiveness(setup, student, students, samples)
    starts, of = responses.select("starts", "students").row(0)
    print(f"\n{responses_table(responses)}\n")
    print(f"responsiveness: {starts} starts of {of} students, {samples} samples each")
    print(f"written to  {setup.places.reports / 'responsiveness'}")


def turing(
    course: CourseArgument,
    pairs: Annotated[int, typer.Option(min=1, help="How many pairs the judge sees.")] = 40,
    method: Annotated[
        str | None, typer.Option(help="Whose rollouts; the best of the report by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed draws other pairs.")] = 0,
    preset: PresetOption = None,
) -> None:
    """Writes a blinded test: a page on which a colleague says which of two students is the real one."""
    from flows.commands.summary import count
    from flows.parameters import load
    from tutee_evaluator.metrics import METRICS
    from tutee_evaluator.pairing import pair
    from tutee_evaluator.report.figures import Figures
    from tutee_evaluator.schemas import ROLLOUTS
    from tutee_evaluator.turing.page import write_page
    from tutee_evaluator.turing.pairs import draw_pairs
    from tutee_grader.errors import InputError
    from tutee_grader.files import read_table
    from tutee_grader.verdict import VERDICTS
    from tutee_serializer.schemas import DIALOGS, SUBMISSIONS

    setup = load(course, preset, logs=False)
    places = setup.places
    if method is None:
        figures = Figures(read_table(places.metrics, METRICS, "report"))
        method = figures.best(figures.measured(list(setup.parameters.compared)))
    steps = pair(
        read_table(places.rollout(method), ROLLOUTS, f"rollout {method}"),
        read_table(places.dialogs, DIALOGS, "serialize"),
        read_table(places.submissions, SUBMISSIONS, "ingest"),
        read_table(places.verdicts, VERDICTS, "grade"),
    )
    drawn = draw_pairs(steps, method, pairs, seed)
    if not drawn:
        raise InputError(
            f"{places.rollout(method)}: no sampled rollout of {method} has a program at its first step; "
            "`rollout.samples` of the preset has to be above 0"
        )
    assignments, _ = setup.course.load_assignments()
    tasks = {name: assignment.task for name, assignment in assignments.items()}
    write_page(drawn, tasks, setup.course.name, setup.course.synthetic, places.turing)
    print(f"turing: {count(len(drawn), 'pairs')} of {method.upper()} and the students -> {places.turing}")

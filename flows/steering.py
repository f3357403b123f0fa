"""Leads held-out students of a course to right programs, and compares the ways there."""

from pathlib import Path

import polars as pl
from pydantic import ValidationError

from flows.environment import disable_hub
from flows.finding import find_student
from flows.parameters import Setup
from flows.tables import Tables
from tutee_evaluator.engines import Engine
from tutee_evaluator.engines.transformers import Student
from tutee_evaluator.steering.candidates import Candidate, compared
from tutee_evaluator.steering.figures import Outcomes, measure, write
from tutee_evaluator.steering.guidance import Guided, check_mixable
from tutee_evaluator.steering.search import Grade, SteerConfig, climb, grade_with, steer_all
from tutee_evaluator.steering.solvers import Solver
from tutee_evaluator.steering.starts import Start, draw_starts
from tutee_grader.assignment import Assignment
from tutee_grader.config import describe_errors
from tutee_grader.errors import InputError
from tutee_grader.grader import Grader


def read_config(weights: str, **settings: int) -> SteerConfig:
    """The configuration with weights as text, such as 0,0.5,1; raises InputError where they are none."""
    try:
        return SteerConfig.model_validate(
            {"weights": [float(weight) for weight in weights.split(",")], **settings}
        )
    except ValidationError as error:
        raise InputError("\n".join(f"tutee steer: {problem}" for problem in describe_errors(error))) from None
    except ValueError:
        raise InputError(f"--weights {weights}: not numbers with commas between, as in 0,0.5,1") from None


def steer(
    named: str, solver: str, limit: int, config: SteerConfig, setup: Setup
) -> tuple[Outcomes, pl.DataFrame]:
    """Steers the student of this name, guided by the model `solver`; writes the figures, which it returns.

    Beside it stand the student unguided and its base's repair, with as many candidates as the student has at
    all weights together. Raises InputError where a name names no model that can be mixed.
    """
    disable_hub(setup.preset)
    places, parameters = setup.places, setup.parameters
    models = {name: _load(name, setup) for name in dict.fromkeys((named, solver, "base"))}
    student, guide, base = models[named], models[solver], models["base"]
    for other in (guide, base):
        check_mixable(student, other)
    tables = Tables.read(setup, student)
    dialogs = tables.dialogs.filter(feedback=student.feedback)
    starts = draw_starts(dialogs, tables.submissions, tables.verdicts, limit, config.seed)
    assignments, _ = setup.course.load_assignments()

    def engine_at(weight: float) -> Engine:
        return Guided(student, guide, weight) if weight else student

    every = config.model_copy(update={"candidates": config.candidates * len(config.weights)})
    with Grader(cache=places.verdict_cache) as grader:
        grade = grade_with(grader, assignments)
        outcomes = Outcomes(
            steer_all(starts, engine_at, grade, config),
            climb(starts, student, grade, every, 0.0, "unguided"),
            climb(starts, Solver(base), grade, every, 0.0, "base"),
            _references(starts, assignments, grade),
        )
    metrics = measure(outcomes, config.weights, parameters.report)
    write(metrics, outcomes, places.steering)
    return outcomes, metrics


def _load(name: str, setup: Setup) -> Student:
    """The model of a student of this name, without look-ups; raises InputError where there is none."""
    found = find_student(name, setup.parameters.students, setup.places)
    if not isinstance(found.model, Path):
        raise InputError(
            f"{name}: an endpoint shows no probabilities that could be mixed; name a model on this machine"
        )
    engine = setup.parameters.engine
    return Student.load(found.model, batch=engine.batch, prefix_bytes=engine.prefix_bytes)


def _references(
    starts: list[Start], assignments: dict[str, Assignment], grade: Grade
) -> list[Candidate | None]:
    """The reference solution beside each start's program; None where the assignment has none."""
    solutions = {name: one.solution for name, one in assignments.items() if one.solution is not None}
    verdicts = dict(zip(solutions, grade(list(solutions.items())), strict=True))
    return [
        compared(start.program, solutions[start.assignment], verdicts[start.assignment].grade)
        if start.assignment in solutions
        else None
        for start in starts
    ]

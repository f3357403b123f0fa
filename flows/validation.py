"""Checks what artificial classes predict of feedback policies on a course whose log has randomised arms."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import yaml

from flows.classroom import all_work
from flows.experiment import Experiment, run_experiment
from flows.parameters import Setup
from flows.pipeline import Pipeline
from flows.places import Places
from tutee_evaluator.experiments.comparison import compare
from tutee_evaluator.experiments.outcomes import trajectories
from tutee_evaluator.experiments.validation import draw, observed, validate
from tutee_grader.errors import InputError
from tutee_grader.files import atomic_file, hash_file
from tutee_serializer.ingest.source import simulate_arms

NAME = "validation"
RUNS = 8  # of the simulated class in every arm
TABLE, PICTURE, TRUTH = "validation.csv", "validation.png", "truth.csv"


def run_validation(setup: Setup, method: str, samples: int, steps: int, students: int | None) -> pl.DataFrame:
    """VALIDATION of a course with arms: trains `method`, plays every arm, and compares with what is true.

    `students` of the held-out ones are played, all where it is None; the truth is of all.
    True is what the course's simulator does with the same held-out students in every arm; of a real log,
    what it did with those in each. Raises InputError where the course has no two arms, or
    two that were told the same.
    """
    course, places = setup.course, setup.places
    if len(course.arms) < 2:
        raise InputError(f"{course.file}: `arms` has {len(course.arms)} arms; two are needed to compare them")
    for level in set(course.arms.values()):
        alike = [arm for arm, told in course.arms.items() if told == level]
        if len(alike) > 1:
            raise InputError(
                f"{course.file}: `arms`: {' and '.join(alike)} were told the same, {level}, so nothing tells "
                "them apart; leave all but one of them out"
            )
    _train(places, method)
    folder = places.experiment(NAME)
    file = _write_file(setup, method, samples, steps, students, folder / f"{NAME}.yaml")
    experiment = Experiment.load(file)
    predicted = run_experiment(experiment)
    seed = experiment.config.seed

    def figures(seen: pl.DataFrame) -> pl.DataFrame:
        return compare(
            trajectories(observed(seen, steps), steps), list(course.arms), steps, "solved", None, seed
        )

    dialogs = all_work(experiment.student, setup).dialogs
    logged = {split: figures(_arms(dialogs.filter(split=split), course.arms)) for split in ("train", "test")}
    true = figures(_truth(setup, folder / TRUTH)) if course.simulator else logged["test"]
    table = validate(predicted, logged["train"], true)
    with atomic_file(folder / TABLE) as part:
        table.write_csv(part)
    draw(table, folder / PICTURE)
    return table


def _train(places: Places, method: str) -> None:
    """Runs the stages that `method` needs, where they are out of date."""
    pipeline = Pipeline.of(places)
    needed = {"source", "ingest", "grade", "serialize", "base", method}
    for stage in pipeline.stages:
        if stage.partition("@")[0] in needed:
            pipeline.run(stage)


def _write_file(
    setup: Setup, method: str, samples: int, steps: int, students: int | None, file: Path
) -> Path:
    values = {
        "question": "Does an artificial class predict what a feedback policy does?",
        "course": setup.course.name,
        "preset": setup.preset.name,
        "student": method,
        "policies": {arm: {"level": level} for arm, level in setup.course.arms.items()},
        "class": {"students": students},
        "samples": samples,
        "steps": steps,
    }
    with atomic_file(file) as part:
        part.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return file


def _arms(dialogs: pl.DataFrame, arms: Mapping[str, str]) -> pl.DataFrame:
    """What students of the log did, each in one arm."""
    names = {level: arm for arm, level in arms.items()}
    return dialogs.select(
        pl.col("level").replace_strict(names, return_dtype=pl.String).alias("policy"),
        "student",
        "assignment",
        sample=pl.lit(1),
        grades=pl.col("turns").list.eval(pl.element().struct.field("grade")),
    )


def _truth(setup: Setup, file: Path) -> pl.DataFrame:
    """What the simulator's students do in each arm; simulated again where the course has changed."""
    note = file.with_suffix(".inputs")
    inputs = hash_file(setup.places.inputs)
    if not (file.exists() and note.exists() and note.read_text(encoding="utf-8") == inputs):
        print(f"validation: simulating the class in {len(setup.course.arms)} arms, {RUNS} times", flush=True)
        simulate_arms(setup.course, RUNS, file)
        note.write_text(inputs, encoding="utf-8")
    rows = pl.read_csv(file).rename({"arm": "policy", "run": "sample"})
    return (
        rows.sort("policy", "student", "assignment", "sample", "attempt")
        .group_by("policy", "student", "assignment", "sample", maintain_order=True)
        .agg(grades=pl.col("score").cast(pl.Float64))
    )

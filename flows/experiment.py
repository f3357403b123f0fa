"""An experiment on an artificial class: plays the policies, compares them, reports, tells MLflow."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from flows import mlflow_client
from flows.classroom import Classroom
from flows.finding import FoundStudent, find_student
from flows.parameters import Setup, load
from flows.provenance import package_versions, rollouts_key
from flows.tracking import EXPERIMENT, KIND, flat
from tutee_evaluator.experiments.classes import draw_class
from tutee_evaluator.experiments.comparison import compare
from tutee_evaluator.experiments.config import ExperimentConfig, make_policies
from tutee_evaluator.experiments.outcomes import trajectories
from tutee_evaluator.experiments.page import write_page
from tutee_evaluator.experiments.run import play_all
from tutee_evaluator.metrics.strata import OVERALL
from tutee_evaluator.rollout.grading import known_verdicts
from tutee_grader.files import atomic_file, write_table
from tutee_grader.grader import Grader

CSV, JSON, PLAYED, PAGE = "figures.csv", "figures.json", "played.parquet", "report.html"


@dataclass(frozen=True)
class Experiment:
    """An experiment's file, read; `name` is the file's without .yaml."""

    file: Path
    config: ExperimentConfig
    setup: Setup
    student: FoundStudent

    @classmethod
    def load(cls, file: Path) -> "Experiment":
        """Reads the file and finds the student; raises InputError with every problem of the file at once."""
        config = ExperimentConfig.load(file)
        setup = load(config.course, config.preset, logs=False)
        return cls(file, config, setup, find_student(config.student, setup.parameters.students, setup.places))

    @property
    def name(self) -> str:
        return self.file.stem

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.setup.places.experiment(self.name)


def run_experiment(experiment: Experiment) -> pl.DataFrame:
    """Plays, compares and writes everything to `experiment.folder`; returns FIGURES.

    What a killed run played is not played again. Raises InputError as the file, the class and the policies
    do.
    """
    config, setup = experiment.config, experiment.setup
    assignments, _ = setup.course.load_assignments()
    wanted = list(config.students.assignments or sorted(assignments))
    # Before the student is loaded: what is wrong with a policy is said at once.
    policies = make_policies(config.policies, experiment.file.parent, wanted, config.seed)
    whole = Classroom.of(experiment.student, setup)
    starts = draw_class(
        config.students, whole.engine, assignments, whole.dialogs, whole.submissions, whole.verdicts
    )
    unfinished = setup.places.unfinished_experiment(experiment.name, _key(experiment))
    with Grader(cache=setup.places.verdict_cache) as grader:
        played = play_all(
            starts,
            policies,
            config.samples,
            whole.engine,
            assignments,
            grader,
            known_verdicts(whole.submissions, whole.verdicts),
            whole.giving_up,
            config.steps,
            config.seed,
            experiment.folder / PLAYED,
            unfinished,
        )
    figures = compare(
        trajectories(played, config.steps),
        list(config.policies),
        config.steps,
        config.primary,
        config.effect,
        config.seed,
    )
    _write(experiment, played, figures)
    _tell_mlflow(experiment, figures)
    shutil.rmtree(unfinished)
    return figures


def _key(experiment: Experiment) -> str:
    """Changes with everything that the trajectories depend on, but for what an endpoint answers."""
    folder, config = experiment.file.parent, experiment.config
    files = [
        path
        for policy in config.policies.values()
        for path in (policy.hints, policy.prompt, _module(policy.function))
        if path is not None and (folder / path).exists()
    ]
    texts = [(folder / path).read_text(encoding="utf-8") for path in files]
    settings = "\0".join([config.model_dump_json(), experiment.student.row.model_dump_json(), *texts])
    model = experiment.student.model
    setup = experiment.setup
    return rollouts_key(
        setup.places, setup.preset.rollout, model if isinstance(model, Path) else None, settings
    )


def _module(function: str | None) -> Path | None:
    return Path(f"{function.partition(':')[0].replace('.', '/')}.py") if function else None


def _write(experiment: Experiment, played: pl.DataFrame, figures: pl.DataFrame) -> None:
    folder = experiment.folder
    with atomic_file(folder / CSV) as part:
        figures.write_csv(part)
    with atomic_file(folder / JSON) as part:
        figures.write_json(part)
    write_table(figures, folder / "figures.parquet")
    write_page(
        experiment.config,
        experiment.name,
        experiment.setup.course.synthetic,
        played,
        figures,
        package_versions(),
        folder / PAGE,
    )


def _tell_mlflow(experiment: Experiment, figures: pl.DataFrame) -> None:
    """One run in the course's experiment, with parameters, the primary outcome, and all files."""
    from mlflow.entities import Metric, Param

    config, places = experiment.config, experiment.setup.places
    client = mlflow_client.connect(places)
    with mlflow_client.reachable():
        within = mlflow_client.experiment_id(client, places)
        tags = {KIND: EXPERIMENT, "course": places.course, "preset": places.preset, **package_versions()}
        run = client.create_run(within, tags=tags, run_name=experiment.name)
        run_id = run.info.run_id
        params = [
            Param(name, str(value)[:500]) for name, value in flat(config.model_dump(mode="json")).items()
        ]
        overall = figures.filter(outcome=config.primary, stratum=OVERALL).drop_nulls("value")
        metrics = [Metric(_metric(row), row["value"], 0, 0) for row in overall.iter_rows(named=True)]
        client.log_batch(run_id, metrics=metrics, params=params)
        for file in (CSV, JSON, PAGE):
            client.log_artifact(run_id, str(experiment.folder / file))
        client.log_artifact(run_id, str(experiment.file))
        client.set_terminated(run_id)


def _metric(row: Mapping[str, str]) -> str:
    minus = f"_minus_{row['other']}" if row["other"] else ""
    return f"{row['outcome']}.{row['policy']}{minus}"

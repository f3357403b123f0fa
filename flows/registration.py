"""Registers the present results of a course: one run with every file, and a version for each adapter.

Each version names the run of the training that made it (flows/tracking.py), found by the model's content.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows import mlflow_client
from flows.provenance import HASH
from flows.registry import NO_TRAINING, STUDENTS, TRAINED_IN, Registry, Version, links
from flows.tracking import BASE, KIND, MODEL, RESULTS
from tutee_grader.files import folder_hash
from tutee_serializer.card import MODEL_CARD

FINGERPRINT = "fingerprint"


@dataclass(frozen=True)
class Results:
    """What is registered of a pipeline's results, named by `fingerprint`: models of `methods`, and `files`.

    `hashes` are DVC's of tables and models, by path; `cards` the adapters' model cards, by method;
    `students` the pseudonyms by TRAIN_STUDENTS and TEST_STUDENTS, so that one can be forgotten; `about` more
    tags of each version.
    """

    fingerprint: str
    methods: Sequence[str]
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    hashes: Mapping[str, str]
    files: Sequence[Path]
    cards: Mapping[str, str]
    students: Mapping[str, Sequence[str]]
    about: Mapping[str, str] = field(default_factory=dict)


def register(registry: Registry, results: Results) -> dict[str, Version]:
    """Registers results, and returns the versions, by method.

    A registration that was killed goes on: a run that has all its files is not made twice, nor is a version.
    """
    client = registry.client
    experiment = mlflow_client.experiment_id(client, registry.places)
    mlflow_client.fail_dead_runs(client, experiment)
    found = client.search_runs(
        [experiment],
        f"tags.{FINGERPRINT} = '{results.fingerprint}' AND attributes.status = 'FINISHED'",
        max_results=1,
    )
    models = {name: folder_hash(registry.places.model(name)) for name in ("base", *results.methods)}
    trainings = {name: _training(registry, experiment, model) for name, model in models.items()}
    run_id = str(found[0].info.run_id) if found else _log(registry, experiment, results, trainings)
    _create_model(registry)
    there = {version.method for version in registry.versions() if version.run_id == run_id}
    for method in results.methods:
        if method not in there:
            client.create_model_version(
                registry.model,
                f"runs:/{run_id}/{method}",
                run_id,
                tags={
                    **results.about,
                    "course": registry.places.course,
                    "preset": registry.places.preset,
                    "method": method,
                    FINGERPRINT: results.fingerprint,
                    MODEL: models[method],
                    BASE: models["base"],
                    TRAINED_IN: trainings[method],
                    **{f"{HASH}{path}": value for path, value in results.hashes.items()},
                },
                description=links("Training and its loss curve", experiment, {method: trainings[method]}),
            )
    return registry.find(results.fingerprint, results.methods)


def _log(registry: Registry, experiment: str, results: Results, trainings: Mapping[str, str]) -> str:
    """Makes the run of results, with all files, and returns its id; it is FINISHED once it has them all."""
    from mlflow.entities import Metric, Param

    client = registry.client
    tags = {
        KIND: RESULTS,
        FINGERPRINT: results.fingerprint,
        "course": registry.places.course,
        mlflow_client.NOTE: links("Trainings", experiment, trainings),
        **results.about,
        **{f"{HASH}{path}": value for path, value in results.hashes.items()},
        **mlflow_client.process_tags(),
    }
    run_id = str(client.create_run(experiment, tags=tags, run_name=RESULTS).info.run_id)
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in results.metrics.items()],
        params=[Param(name, str(value)) for name, value in results.params.items()],
    )
    for file in results.files:
        if file.is_dir():
            client.log_artifacts(run_id, str(file), file.name)
        else:
            client.log_artifact(run_id, str(file))
    client.log_dict(run_id, {use: sorted(names) for use, names in results.students.items()}, STUDENTS)
    # An adapter's card names its base relative to its own folder, so the base travels beside it.
    for method in ("base", *results.methods):
        client.log_artifacts(run_id, str(registry.places.model(method)), method)
    for method, card in results.cards.items():
        for run_with_it in {run_id, trainings[method]} - {NO_TRAINING}:
            client.log_text(run_with_it, card, f"{method}/{MODEL_CARD}")
    client.set_terminated(run_id)
    return run_id


def _training(registry: Registry, experiment: str, model: str) -> str:
    """The last training that made a model, given by its hash; NO_TRAINING where MLflow knows none."""
    runs = registry.client.search_runs(
        [experiment], f"tags.{MODEL} = '{model}'", max_results=1, order_by=["start_time DESC"]
    )
    return str(runs[0].info.run_id) if runs else NO_TRAINING


def _create_model(registry: Registry) -> None:
    from mlflow.exceptions import MlflowException

    try:
        registry.client.create_registered_model(registry.model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise

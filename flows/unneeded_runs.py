"""What MLflow holds of a course that nothing needs any more, and how it is deleted for good."""

import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows import mlflow_client
from flows.registry import Registry, Version
from flows.retention import recorded_in, tested_on
from flows.tracking import KIND, MODEL, RESULTS, TRAINING
from tutee_grader.errors import UnavailableError

if TYPE_CHECKING:
    from mlflow.entities import Run

ACTIVE, RUNNING = "active", "RUNNING"


@dataclass(frozen=True)
class UnneededRuns:
    """Versions, and the runs of results and of trainings, that can be deleted."""

    registry: Registry
    versions: Sequence[Version]
    results: "Sequence[Run]"
    trainings: "Sequence[Run]"

    def __str__(self) -> str:
        of_semester: dict[str, list[str]] = {}
        for version in self.versions:
            of_semester.setdefault(tested_on(version), []).append(str(version.number))
        parts = [f"versions {', '.join(of)} ({semester})" for semester, of in of_semester.items()]
        runs = f"{len(self.results)} runs of results and {len(self.trainings)} of trainings"
        return f"MLflow: {self.registry.model}: {'; '.join([*parts, runs])}"

    @property
    def runs(self) -> "list[Run]":
        return [*self.results, *self.trainings]

    @property
    def size(self) -> int:
        """The bytes of their artifacts."""
        return sum(self._size(run.info.run_id) for run in self.runs)

    def delete(self) -> None:
        """Deletes them; what a killed deletion has left is found and deleted by the next one.

        A server keeps the runs' rows: those are for `mlflow gc` on the machine of its database.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        registry = self.registry
        for version in self.versions:
            registry.client.delete_model_version(registry.model, str(version.number))
        for run in self.runs:
            get_artifact_repository(
                run.info.artifact_uri, tracking_uri=registry.client.tracking_uri
            ).delete_artifacts()
            if run.info.lifecycle_stage == ACTIVE:
                registry.client.delete_run(run.info.run_id)
        if self.runs and not os.environ.get(mlflow_client.ADDRESS):
            _purge(registry.client.tracking_uri, [run.info.run_id for run in self.runs])

    def _size(self, run_id: str, path: str | None = None) -> int:
        files = self.registry.client.list_artifacts(run_id, path)
        return sum(self._size(run_id, file.path) if file.is_dir else file.file_size or 0 for file in files)


def find_unneeded(
    registry: Registry, why: Mapping[str, Collection[str]], lock: str, models: Collection[str]
) -> UnneededRuns:
    """What can be deleted of a course whose results are needed for the reasons `why`, by their run.

    Results without versions are those of a killed registration: the present ones, of `lock`, stay, so that it
    can go on. A training stays as long as results that are needed name it, or it made one of `models`
    (hashes), or no results are newer.
    """
    runs = list(_runs(registry))
    results = [run for run in runs if run.data.tags.get(KIND) == RESULTS]
    needed = [
        run
        for run in results
        if why.get(run.info.run_id)
        or (run.info.run_id not in why and recorded_in(lock, run.data.tags))
        or run.info.status == RUNNING
    ]
    named = " ".join(run.data.tags.get(mlflow_client.NOTE, "") for run in needed)
    newest = max((run.info.start_time for run in results), default=0)
    trainings = [
        run
        for run in runs
        if run.data.tags.get(KIND) == TRAINING
        and run.info.run_id not in named
        and run.data.tags.get(MODEL) not in models
        and run.info.start_time < newest
        and run.info.status != RUNNING
    ]
    return UnneededRuns(
        registry,
        [version for version in registry.versions() if not why[version.run_id]],
        [run for run in results if run not in needed],
        trainings,
    )


def _runs(registry: Registry) -> "Iterator[Run]":
    """All runs of the course; in mlflow.db also those that are deleted, but not for good."""
    from mlflow.entities import ViewType

    seen = ViewType.ACTIVE_ONLY if os.environ.get(mlflow_client.ADDRESS) else ViewType.ALL
    experiment, token = mlflow_client.experiment_id(registry.client, registry.places), None
    while True:
        page = registry.client.search_runs([experiment], run_view_type=seen, page_token=token)
        yield from page
        if not (token := page.token):
            return


def _purge(database: str, runs: Sequence[str]) -> None:
    """Deletes deleted runs from the database; raises UnavailableError where MLflow fails."""
    command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", database]
    command += ["--tracking-uri", database, "--run-ids", ",".join(runs)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UnavailableError(f"`mlflow gc` failed; run `tutee clean` again: {done.stderr.strip()[-500:]}")

"""What MLflow remembers of a course: a run per distinct result, its adapters as versions, two aliases.

Each version names the run of the training that made it (flows/tracking.py), found by the model's content.
"""

import json
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import mlflow_client, tracking
from flows.model_card import FILE as CARD
from flows.places import Places
from flows.provenance import folder_hash
from tutee_grader.errors import InputError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
CHALLENGER = "challenger"
# Beside a run's models: the pseudonyms of the students they were trained on, and tested on.
STUDENTS = "students.json"
TRAIN_STUDENTS = "train_students"
TEST_STUDENTS = "test_students"
FORGOTTEN = "trained_on_forgotten_students"
# The tag of a version that names the run of its training.
TRAINED_IN = "training_run"
# MLflow's page has two views; this one is for those who train models.
PAGE = "workflowType=machine_learning"
NO_TRAINING = "none: MLflow has no training of this model; its database may have been removed since"


@dataclass(frozen=True)
class Version:
    """A registered adapter; `run_id` is the run of the results it came with, `fingerprint` names those."""

    number: int
    run_id: str
    method: str
    fingerprint: str
    tags: Mapping[str, str]

    @property
    def forgotten(self) -> int:
        """How many of the students it was trained on have been forgotten since."""
        return int(self.tags.get(FORGOTTEN, 0))


class Registry:
    """The versions of the registered model `tutee-COURSE`."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.model = f"tutee-{places.course}"
        self.client = mlflow_client.connect(places)

    def find(self, fingerprint: str, methods: Collection[str]) -> dict[str, Version]:
        """The versions of the run with these results, by method; empty where none has all `methods`."""
        runs: dict[str, dict[str, Version]] = {}
        for version in self.versions():
            if version.fingerprint == fingerprint:
                runs.setdefault(version.run_id, {})[version.method] = version
        return next((run for run in runs.values() if set(run) == set(methods)), {})

    def versions(self) -> list[Version]:
        """All versions, the oldest first."""
        found = self.client.search_model_versions(f"name = '{self.model}'")
        return sorted((_version(one) for one in found), key=lambda version: version.number)

    def get(self, number: int) -> Version:
        """The version of this number; raises InputError where there is none."""
        versions = self.versions()
        found = next((version for version in versions if version.number == number), None)
        if found is None:
            known = ", ".join(str(version.number) for version in versions) or "none"
            raise InputError(f"{self.model}: there is no version {number}; there are: {known}")
        return found

    def get_by_alias(self, alias: str) -> Version | None:
        """The version with this alias, if there is one."""
        from mlflow.exceptions import MlflowException

        try:
            return _version(self.client.get_model_version_by_alias(self.model, alias))
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def register(
        self,
        fingerprint: str,
        methods: Sequence[str],
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        hashes: Mapping[str, str],
        files: Sequence[Path],
        cards: Mapping[str, str],
        students: Mapping[str, Sequence[str]],
        synthetic: bool,
    ) -> dict[str, Version]:
        """Logs one run with the base and the adapters of `methods` and registers each adapter, by method.

        `cards` are the adapters' model cards, by method; each goes to the run of its training, too.
        `students` are the pseudonyms by TRAIN_STUDENTS and TEST_STUDENTS, so that one can be forgotten.
        The versions are made last, after every file is there, so `find` ignores what a killed run left.
        """
        from mlflow.entities import Metric, Param

        client = self.client
        experiment = mlflow_client.experiment_id(client, self.places)
        mlflow_client.fail_dead_runs(client, experiment)
        trainings = self._trainings(experiment, ("base", *methods))
        tags = {"course": self.places.course, "synthetic": str(synthetic).lower()}
        of_run = {
            tracking.KIND: tracking.RESULTS,
            mlflow_client.NOTE: _links("Trainings", experiment, trainings),
            **{f"dvc.{path}": hash for path, hash in hashes.items()},
            **mlflow_client.process_tags(),
        }
        run = client.create_run(experiment, tags={**tags, **of_run}, run_name=tracking.RESULTS)
        run_id = run.info.run_id
        now = int(time.time() * 1000)
        client.log_batch(
            run_id,
            metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
            params=[Param(name, str(value)) for name, value in params.items()],
        )
        for file in files:
            if file.is_dir():
                client.log_artifacts(run_id, str(file), file.name)
            else:
                client.log_artifact(run_id, str(file))
        client.log_dict(run_id, {use: sorted(names) for use, names in students.items()}, STUDENTS)
        # An adapter's card names its base relative to its own folder, so the base travels beside it.
        for method in ("base", *methods):
            client.log_artifacts(run_id, str(self.places.model(method)), method)
        for method, card in cards.items():
            for run_with_it in filter(None, (run_id, trainings[method])):
                client.log_text(run_with_it, card, f"{method}/{CARD}")
        client.set_terminated(run_id)
        self._create_model()
        for method in methods:
            training = {method: trainings[method]}
            of_version = {
                "method": method,
                "preset": self.places.preset,
                "fingerprint": fingerprint,
                TRAINED_IN: trainings[method] or NO_TRAINING,
            }
            client.create_model_version(
                self.model,
                f"runs:/{run_id}/{method}",
                run_id,
                tags={**tags, **of_version},
                description=_links("Training and its loss curve", experiment, training),
            )
        return self.find(fingerprint, methods)

    def describe(self, version: Version) -> str:
        """In words, for a person."""
        trained = f", trained on {version.forgotten} since forgotten" if version.forgotten else ""
        preset = f", {version.tags['preset']}" if "preset" in version.tags else ""
        return f"{self.model} version {version.number} ({version.method.upper()}{preset}{trained})"

    def metrics(self, version: Version) -> dict[str, float]:
        """The figures of the version's method, by metric."""
        found = self.client.get_run(version.run_id).data.metrics
        mine = f"{version.method}."
        return {name.removeprefix(mine): value for name, value in found.items() if name.startswith(mine)}

    def folder(self, version: Version) -> Path:
        """The folder of the adapter on this disk; its base is beside it, unless it is on the hub."""
        self.fetch(version, "base")
        return self.fetch(version, version.method)

    def adapter(self, number: int) -> Path:
        """The folder of a version that further training may begin from.

        Raises InputError where there is none of this number, or it was trained on students since forgotten.
        """
        version = self.get(number)
        if version.forgotten:
            raise InputError(
                f"params.yaml: warm_start: {self.describe(version)}: what it learned of them would live on; "
                "choose a version that was trained without them, or null"
            )
        return self.folder(version)

    def fetch(self, version: Version, name: str) -> Path:
        """A file or folder of the version's run on this disk; from a server it is downloaded, once."""
        from mlflow.utils.file_utils import local_file_uri_to_path
        from mlflow.utils.uri import is_local_uri

        artifacts = self.client.get_run(version.run_id).info.artifact_uri
        if is_local_uri(artifacts):
            return Path(local_file_uri_to_path(artifacts)) / name
        path = self.places.mlflow_downloads / version.run_id / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.places.mlflow_downloads) as part:
                Path(self.client.download_artifacts(version.run_id, name, part)).rename(path)
        return path

    def set_alias(self, alias: str, version: Version) -> None:
        """Gives `alias` to `version`; a new champion remembers the one before it."""
        if alias == CHAMPION:
            before = self.get_by_alias(CHAMPION)
            if before and before.number != version.number:
                self.tag(version, "champion_before", str(before.number))
        self.client.set_registered_model_alias(self.model, alias, str(version.number))

    def forget(self, student: str) -> list[Version]:
        """Marks the versions that were trained on a student (a pseudonym); returns those.

        The student is removed from every run's list, and the report of a run that tested on them is deleted.
        """
        marked: list[int] = []
        runs: dict[str, list[Version]] = {}
        for version in self.versions():
            runs.setdefault(version.run_id, []).append(version)
        for run_id, versions in runs.items():
            students = self._students(run_id)
            if TRAIN_STUDENTS not in students:
                raise InputError(
                    f"run {run_id}: its {STUDENTS} was written by tutee 0.1, which used other names; remove "
                    f"{self.places.mlflow_database} and {self.places.mlflow_artifacts.parent}, then retrain"
                )
            if student in students[TEST_STUDENTS]:
                self._delete(run_id, self.places.report.name)
            if student in students[TRAIN_STUDENTS]:
                for version in versions:
                    self.tag(version, FORGOTTEN, str(version.forgotten + 1))
                    marked.append(version.number)
            kept = {use: [name for name in names if name != student] for use, names in students.items()}
            self.client.log_dict(run_id, kept, STUDENTS)
        return [version for version in self.versions() if version.number in marked]

    def tag(self, version: Version, name: str, value: str) -> None:
        """Writes a tag on a version, over the one that may be there."""
        self.client.set_model_version_tag(self.model, str(version.number), name, value)

    def roll_back(self) -> tuple[Version, Version]:
        """Gives the alias champion to the champion before; returns the old one and the new one.

        Raises InputError where there is no champion, or none before it.
        """
        champion = self.champion()
        before = champion.tags.get("champion_before")
        if before is None:
            raise InputError(
                f"{self.model}: version {champion.number} is the first champion; there is none to go back to"
            )
        self.client.set_registered_model_alias(self.model, CHAMPION, before)
        return champion, self.champion()

    def champion(self) -> Version:
        """The champion; raises InputError where there is none yet."""
        champion = self.get_by_alias(CHAMPION)
        if champion is None:
            raise InputError(
                f"{self.model}: no version is champion yet; `tutee retrain {self.places.course}` makes one"
            )
        return champion

    def fail_dead_runs(self) -> None:
        """Marks the runs of the course FAILED whose processes were killed."""
        mlflow_client.fail_dead_runs(self.client, mlflow_client.experiment_id(self.client, self.places))

    def _trainings(self, experiment: str, methods: Sequence[str]) -> dict[str, str | None]:
        """The last training that made the present model, by method; None where there is none."""
        found: dict[str, str | None] = {}
        for method in methods:
            content = folder_hash(self.places.model(method))
            runs = self.client.search_runs(
                [experiment],
                f"tags.{tracking.MODEL} = '{content}'",
                max_results=1,
                order_by=["start_time DESC"],
            )
            found[method] = str(runs[0].info.run_id) if runs else None
        return found

    def _students(self, run_id: str) -> dict[str, list[str]]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(self.client.download_artifacts(run_id, STUDENTS, folder))
            students: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
            return students

    def _delete(self, run_id: str, name: str) -> None:
        """Deletes a file of a run, where it is still there."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        if name in [file.path for file in self.client.list_artifacts(run_id)]:
            artifacts = self.client.get_run(run_id).info.artifact_uri
            repository = get_artifact_repository(artifacts, tracking_uri=self.client.tracking_uri)
            repository.delete_artifacts(name)

    def _create_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(self.model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _links(title: str, experiment: str, trainings: Mapping[str, str | None]) -> str:
    """The runs of trainings as MLflow's page shows them: links in Markdown."""
    page = f"#/experiments/{experiment}/runs/{{}}/model-metrics?{PAGE}"
    links = [
        f"[{method}]({page.format(run_id)})" if run_id else f"{method} ({NO_TRAINING})"
        for method, run_id in trainings.items()
    ]
    return f"{title}: {', '.join(links)}"


def _version(found: "ModelVersion") -> Version:
    tags = dict(found.tags)
    return Version(
        number=int(found.version),
        run_id=found.run_id,
        method=tags["method"],
        fingerprint=tags["fingerprint"],
        tags=tags,
    )

"""What MLflow remembers of a course: a run per distinct result, its adapters as versions, two aliases."""

import json
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.places import Places
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


@dataclass(frozen=True)
class Version:
    """A registered adapter.

    `fingerprint` names the results of its run, `test_set` what it was evaluated on and how.
    """

    number: int
    run_id: str
    method: str
    fingerprint: str
    test_set: str
    tags: Mapping[str, str]

    @property
    def forgotten(self) -> int:
        """How many of the students it was trained on have been forgotten since."""
        return int(self.tags.get(FORGOTTEN, 0))


class Registry:
    """The versions of the registered model `tutee-COURSE`."""

    def __init__(self, places: Places) -> None:
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self.places = places
        self.model = f"tutee-{places.course}"
        address = f"sqlite:///{places.mlflow_database.resolve()}"
        self.client = MlflowClient(tracking_uri=address, registry_uri=address)

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
        test_set: str,
        methods: Sequence[str],
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        hashes: Mapping[str, str],
        files: Sequence[Path],
        students: Mapping[str, Sequence[str]],
        synthetic: bool,
    ) -> dict[str, Version]:
        """Logs one run with the base and the adapters of `methods` and registers each adapter, by method.

        `students` are the pseudonyms by TRAIN_STUDENTS and TEST_STUDENTS, so that one can be forgotten.
        The versions are made last, after every file is there, so `find` ignores what a killed run left.
        """
        from mlflow.entities import Metric, Param

        client = self.client
        experiment = client.get_experiment_by_name(self.model)
        where = self.places.mlflow_artifacts.resolve().as_uri()
        experiment_id = (
            experiment.experiment_id if experiment else client.create_experiment(self.model, where)
        )
        tags = {"course": self.places.course, "synthetic": str(synthetic).lower()}
        run = client.create_run(
            experiment_id, tags={**tags, **{f"dvc.{path}": hash for path, hash in hashes.items()}}
        )
        run_id = run.info.run_id
        now = int(time.time() * 1000)
        client.log_batch(
            run_id,
            metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
            params=[Param(name, str(value)) for name, value in params.items()],
        )
        for file in files:
            client.log_artifact(run_id, str(file))
        client.log_dict(run_id, {use: sorted(names) for use, names in students.items()}, STUDENTS)
        # An adapter's card names its base relative to its own folder, so the base travels beside it.
        for method in ("base", *methods):
            client.log_artifacts(run_id, str(self.places.model(method)), method)
        client.set_terminated(run_id)
        self._create_model()
        for method in methods:
            client.create_model_version(
                self.model,
                f"runs:/{run_id}/{method}",
                run_id,
                tags={**tags, "method": method, "fingerprint": fingerprint, "test_set": test_set},
            )
        return self.find(fingerprint, methods)

    def describe(self, version: Version) -> str:
        """In words, for a person."""
        trained = f", trained on {version.forgotten} since forgotten" if version.forgotten else ""
        return f"{self.model} version {version.number} ({version.method.upper()}{trained})"

    def metrics(self, version: Version) -> dict[str, float]:
        """The figures of the version's method, by metric."""
        found = self.client.get_run(version.run_id).data.metrics
        mine = f"{version.method}."
        return {name.removeprefix(mine): value for name, value in found.items() if name.startswith(mine)}

    def folder(self, version: Version) -> Path:
        """The folder of the adapter; its base is beside it, unless it is on the hub."""
        from mlflow.utils.file_utils import local_file_uri_to_path

        artifacts = self.client.get_run(version.run_id).info.artifact_uri
        return Path(local_file_uri_to_path(artifacts)) / version.method

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
        for versions in runs.values():
            folder = self.folder(versions[0]).parent
            students = json.loads((folder / STUDENTS).read_text(encoding="utf-8"))
            if TRAIN_STUDENTS not in students:
                raise InputError(
                    f"{folder / STUDENTS}: written by tutee 0.1, which used other field names; remove "
                    f"{self.places.mlflow_database} and {self.places.mlflow_artifacts.parent}, then retrain"
                )
            if student in students[TEST_STUDENTS]:
                (folder / self.places.report.name).unlink(missing_ok=True)
            if student in students[TRAIN_STUDENTS]:
                for version in versions:
                    self.tag(version, FORGOTTEN, str(version.forgotten + 1))
                    marked.append(version.number)
            kept = {use: [name for name in names if name != student] for use, names in students.items()}
            (folder / STUDENTS).write_text(json.dumps(kept), encoding="utf-8")
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

    def _create_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(self.model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _version(found: "ModelVersion") -> Version:
    tags = dict(found.tags)
    return Version(
        number=int(found.version),
        run_id=found.run_id,
        method=tags["method"],
        fingerprint=tags["fingerprint"],
        test_set=tags.get("test_set", ""),
        tags=tags,
    )

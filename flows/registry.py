"""What MLflow remembers of a course: adapters as versions, two aliases, and what happened to each version."""

import json
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows import history, mlflow_client
from flows.places import Places
from flows.tracking import MODEL
from tutee_evaluator.engines.baselines.revisions import FILE as REVISIONS
from tutee_grader.errors import InputError
from tutee_grader.files import folder_hash
from tutee_serializer.card import MODEL_CARD

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
CHALLENGER = "challenger"
# Beside a run's models: the pseudonyms of the students they were trained on, and tested on.
STUDENTS = "students.json"
TRAIN_STUDENTS = "train_students"
TEST_STUDENTS = "test_students"
FORGOTTEN = "trained_on_forgotten_students"
TRAINED_ON, TESTED_ON = "semesters.train", "semesters.test"
# Tags of a version, beside the hash of its model: the run of its training, whether it has been champion, the
# champion before it, and, where it was taken back, why.
TRAINED_IN = "training_run"
PROMOTED = "promoted"
CHAMPION_BEFORE = "champion_before"
ROLLED_BACK = "rolled_back"
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
        path, on_server = self._place(version, name)
        if on_server and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.places.mlflow_downloads) as part:
                Path(self.client.download_artifacts(version.run_id, name, part)).rename(path)
        return path

    def is_here(self, version: Version) -> bool:
        """Whether `folder` has nothing to download."""
        places = (self._place(version, name) for name in ("base", version.method))
        return all(path.exists() or not on_server for path, on_server in places)

    def _place(self, version: Version, name: str) -> tuple[Path, bool]:
        """The path of a file or folder of the version's run on this disk, and whether a server has it."""
        from mlflow.utils.file_utils import local_file_uri_to_path
        from mlflow.utils.uri import is_local_uri

        artifacts = self.client.get_run(version.run_id).info.artifact_uri
        if is_local_uri(artifacts):
            return Path(local_file_uri_to_path(artifacts)) / name, False
        return self.places.mlflow_downloads / version.run_id / name, True

    def set_challenger(self, version: Version) -> None:
        """Gives a version the alias challenger."""
        self.client.set_registered_model_alias(self.model, CHALLENGER, str(version.number))

    def make_champion(self, version: Version, why: str) -> None:
        """Makes a version champion; it remembers the one before it."""
        before, instead = self.get_by_alias(CHAMPION), ""
        if before and before.number != version.number:
            self.tag(version, CHAMPION_BEFORE, str(before.number))
            instead = f" in place of version {before.number}"
        if ROLLED_BACK in version.tags:
            self.client.delete_model_version_tag(self.model, str(version.number), ROLLED_BACK)
        text = f"champion{instead}: {why}"
        told = history.events(self.get(version.number).tags)
        # It is told already where a promotion that was killed is brought to its end.
        if not told or not told[-1][1].startswith(f"{text}\n(by "):
            self.record(version, text)
        self.client.set_registered_model_alias(self.model, CHAMPION, str(version.number))
        self.tag(version, PROMOTED, "true")

    def roll_back(self, because: str) -> tuple[Version, Version]:
        """Makes the champion before the present one champion again; returns the old one and the new one.

        The gate lets neither the old one nor another of the same weights pass again. Raises InputError where
        there is no champion, or none before it.
        """
        champion = self.champion()
        before = champion.tags.get(CHAMPION_BEFORE)
        if before is None:
            raise InputError(
                f"{self.model}: version {champion.number} is the first champion; there is none to go back to"
            )
        self.tag(champion, ROLLED_BACK, because)
        self.record(champion, f"rolled back to version {before}: {because}")
        self.record(
            self.get(int(before)), f"champion again, in place of version {champion.number}: {because}"
        )
        # Last: who is killed before this and rolls back again has rolled back once.
        self.client.set_registered_model_alias(self.model, CHAMPION, before)
        return champion, self.champion()

    def rolled_back(self, model: str) -> Version | None:
        """The version that was rolled back with the same weights as `model`, a hash; None where none was."""
        same = (version for version in self.versions() if version.tags.get(MODEL) == model)
        return next((version for version in same if ROLLED_BACK in version.tags), None)

    def record(self, version: Version, text: str) -> None:
        """Writes what happened to a version, with who did it, into a tag of its own and its description."""
        self.tag(version, *history.event(text, self.get(version.number).tags))
        now = self.get(version.number)
        experiment = self.client.get_run(now.run_id).info.experiment_id
        training = links("Training and its loss curve", experiment, {now.method: now.tags[TRAINED_IN]})
        described = f"{history.as_markdown(now.tags)}\n\n{training}"
        self.client.update_model_version(self.model, str(version.number), described)

    def forget(self, student: str) -> list[Version]:
        """Marks the versions that were trained on a student (a pseudonym); returns those.

        The student is removed from every run's list, and the report of a run that tested on them is deleted.
        Of a version that looks up what students wrote the hash is taken again: their rows were removed.
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
                    folder, _ = self._place(version, version.method)
                    if (folder / REVISIONS).exists():
                        self.tag(version, MODEL, folder_hash(folder, but=MODEL_CARD))
                    marked.append(version.number)
            kept = {use: [name for name in names if name != student] for use, names in students.items()}
            self.client.log_dict(run_id, kept, STUDENTS)
        return [version for version in self.versions() if version.number in marked]

    def tag(self, version: Version, name: str, value: str) -> None:
        """Writes a tag on a version, over the one that may be there."""
        self.client.set_model_version_tag(self.model, str(version.number), name, value)

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


def links(title: str, experiment: str, trainings: Mapping[str, str]) -> str:
    """The runs of trainings, or NO_TRAINING, as MLflow's page shows them: links in Markdown."""
    page = f"#/experiments/{experiment}/runs/{{}}/model-metrics?{PAGE}"
    named = [
        f"{method} ({run_id})" if run_id == NO_TRAINING else f"[{method}]({page.format(run_id)})"
        for method, run_id in trainings.items()
    ]
    return f"{title}: {', '.join(named)}"


def _version(found: "ModelVersion") -> Version:
    tags = dict(found.tags)
    return Version(
        number=int(found.version),
        run_id=found.run_id,
        method=tags["method"],
        fingerprint=tags["fingerprint"],
        tags=tags,
    )

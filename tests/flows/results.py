"""Results of several semesters in a project whose models are empty shells: trained, registered, tagged."""

import json
import subprocess
from pathlib import Path

import polars as pl

from flows import mlflow_client, release
from flows.parameters import load
from flows.pipeline import Pipeline
from flows.places import Places
from flows.provenance import folder_hash
from flows.registry import TESTED_ON, Registry, Version
from flows.tracking import KIND, MODEL, TRAINING
from serving.catalog import Catalog

from .conftest import Project, commit

PLACES = Places("small", "tiny")
TRAINED = ("base", "sft")


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True, capture_output=True)


def start_git(remote: Path) -> None:
    """Makes a repository of the present folder, with a folder as the remote of its data."""
    ignored = Path(__file__).parents[2] / ".gitignore"
    Path(".gitignore").write_text(ignored.read_text())
    with Path(".dvc/config").open("a") as config:
        config.write(f"    remote = store\n['remote \"store\"']\n    url = {remote}\n")
    git("init")
    git("config", "user.name", "Teacher")
    git("config", "user.email", "teacher@kurssi.example")


def packed_version(places: Places) -> int | None:
    """The version in the Bento that was built last."""
    bento = places.bentos / json.loads(places.packed.read_text())["folder"]
    return Catalog.load(bento / "src/student/catalog.json").courses[places.course].champion


def make_results(project: Project, semester: str) -> dict[str, Version]:
    """Trains base and SFT anew, as runs of MLflow, registers the results as a semester's, and tags them."""
    registry = Registry(PLACES)
    experiment = mlflow_client.experiment_id(registry.client, PLACES)
    for method in TRAINED:
        project.write_weights(PLACES.model(method), f"{method} of {semester}")
        tags = {KIND: TRAINING, MODEL: folder_hash(PLACES.model(method))}
        run = registry.client.create_run(experiment, tags=tags)
        registry.client.log_artifacts(run.info.run_id, str(PLACES.model(method)), method)
        registry.client.set_terminated(run.info.run_id)
    commit(Path(), [f"{method}@small-tiny" for method in TRAINED])
    versions, _ = release.register(
        load("small"), Pipeline.of(PLACES), registry, pl.read_parquet(PLACES.metrics)
    )
    for version in versions.values():
        registry.tag(version, TESTED_ON, semester)
    git("add", ".")
    git("commit", "--message", semester)
    git("tag", semester)
    return versions

"""What a training is made of, as tags of its MLflow run: data, code, packages, machine."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flows.places import Places, preset_file
from flows.repository import LOCK, git, open_repository
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_grader.errors import InputError
from tutee_grader.files import folder_hash, hash_file

PACKAGES = (
    *("tutee", "tutee-grader", "tutee-serializer", "tutee-trainer", "tutee-evaluator"),
    *("torch", "transformers", "trl", "peft"),
)
JOB = "job"
CODE = "packages/"
# Tags that are named so hold DVC's hash of a table, a model or figures; behind it stands the path.
HASH = "dvc."
RESULTS = (LOCK, "reports")  # which git keeps too


def provenance(places: Places, method: str, inputs: Sequence[Path] = ()) -> dict[str, str]:
    """The tags of a training by `method` that starts now in `places`.

    `inputs` are the files and folders that it reads where it is no stage of dvc.yaml.
    """
    data = _inputs(places, method, inputs) if inputs else _data(places, method)
    return {**data, **_code(places.root), **_machine()}


def rollouts_key(places: Places, config: RolloutConfig, model: Path | None, settings: str = "") -> str:
    """Changes with everything that rollouts depend on.

    `model` is the student's folder, if it has one, and `settings` whatever else it has.
    """
    tables = (places.inputs, places.dialogs, places.submissions, places.verdicts)
    folders = [] if model is None else [model, model.parent / "base"]
    parts = [
        *(version(package) for package in PACKAGES if package.startswith("tutee")),
        config.model_dump_json(),
        settings,
        # The dialogs of another preset's student are made where it is played: none need be there.
        *(hash_file(table) if table.exists() else "missing" for table in tables),
        *(folder_hash(folder) for folder in folders if folder.exists()),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _data(places: Places, method: str) -> dict[str, str]:
    """DVC's hashes of the tables and models that the stage reads, as they lie there now.

    The tag JOB is one hash over all that the stage depends on, code and parameters included: two runs that
    have the same one are the same training. Raises InputError where dvc.yaml cannot be read.
    """
    from dvc.exceptions import DvcException

    hashes: dict[str, Any] = {}
    try:
        with open_repository(places.root) as repo:
            for dependency in repo.stage.load_one(name=f"{method}@{places.course}-{places.preset}").deps:
                there = dependency.exists
                hashes[dependency.def_path] = dependency.get_hash().value if there else "missing"
    except DvcException as error:
        raise InputError(f"dvc.yaml, params.yaml or the preset: {error}") from error
    job = hashlib.sha256(json.dumps([method, hashes], sort_keys=True).encode()).hexdigest()[:16]
    # Parameters have no hash but their values. Those of the preset are the run's parameters.
    data = {path: hash for path, hash in hashes.items() if isinstance(hash, str)}
    settings = {name: value for name, value in hashes.get("params.yaml", {}).items() if value is not None}
    return (
        {JOB: job}
        | {f"{HASH}{path}": hash for path, hash in data.items() if not path.startswith(CODE)}
        | {f"params.{name}": str(value) for name, value in settings.items()}
    )


def _inputs(places: Places, method: str, inputs: Sequence[Path]) -> dict[str, str]:
    """The hashes of what a training reads that is no stage, the preset's file among it, and JOB over them."""
    paths = (preset_file(places.preset), *inputs)
    hashes = {str(path): folder_hash(path) if path.is_dir() else hash_file(path) for path in paths}
    text = json.dumps([method, hashes, package_versions()], sort_keys=True)
    job = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {JOB: job} | {f"input.{path}": hash for path, hash in hashes.items()}


def _code(root: Path) -> dict[str, str]:
    """The commit, under MLflow's own name for it too, and how many files differ from it."""
    try:
        commit = git("rev-parse", "HEAD", root=root).strip()
        others = (f":!{path}" for path in RESULTS)
        changed = git("status", "--porcelain", "--", ".", *others, root=root).splitlines()
    except FileNotFoundError:
        return {"git": "unknown: git is not installed"}
    except subprocess.CalledProcessError:
        return {"git": "not a git repository, or one without a commit"}
    state = f"{len(changed)} files differ from the commit" if changed else "clean"
    return {"mlflow.source.git.commit": commit, "git": f"{commit}, {state}"}


def package_versions() -> dict[str, str]:
    """The versions of PACKAGES, as tags."""
    return {f"version.{name}": version(name) for name in PACKAGES}


def _machine() -> dict[str, str]:
    import torch

    from tutee_grader.version import VERSION

    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name(0) if cuda else f"CPU, {torch.get_num_threads()} threads"
    count = f"{torch.cuda.device_count()} x " if cuda else ""
    return {
        "version.python": platform.python_version(),
        **package_versions(),
        "version.verdicts": VERSION,
        "platform": platform.platform(),
        "device": f"{count}{device}",
    }

"""What this machine and the services that tutee uses are fit for, a check at a time."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions, metadata, requires
from pathlib import Path

import httpx
import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name

from flows import mlflow_client
from flows.environment import check_disk
from flows.mlflow_client import without_credentials
from flows.parameters import FILE as PARAMETERS
from flows.places import Places
from flows.repository import open_repository
from flows.server import ADDRESS, named_server, scheduled_server
from tutee_grader.doctor import protections
from tutee_grader.errors import UnavailableError
from tutee_grader.grader import REQUIRED
from tutee_grader.processes import usable_cores

CONSTRAINTS = Path("constraints.txt")
PACKAGES = ("tutee", "tutee-grader", "tutee-serializer", "tutee-trainer", "tutee-evaluator")


@dataclass(frozen=True)
class Check:
    """A verdict: what was looked at, whether it is fit for use, what was found, and the way out."""

    name: str
    fine: bool
    words: str

    def __str__(self) -> str:
        return f"{'ok' if self.fine else 'NO':<3} {self.name:<12} {self.words}"


def checks() -> Iterator[Check]:
    """Every check but the attacks on the sandbox, each as soon as it is made."""
    yield _python()
    yield from _packages()
    yield _machine()
    yield _disk()
    yield _accelerator()
    yield from _sandbox()
    yield _mlflow()
    yield _prefect()
    if PARAMETERS.exists():
        yield _remote()


def _python() -> Check:
    supported = str(metadata("tutee")["Requires-Python"])
    fine = SpecifierSet(supported).contains(platform.python_version())
    words = f"{platform.python_version()} on {platform.platform()}"
    return Check("python", fine, words if fine else f"{words}; tutee needs {supported}: make .venv with one")


def _packages() -> Iterator[Check]:
    """What is installed in another version than was tried together, or not at all."""
    # Of two folders on the path the first one counts, as for an import.
    installed: dict[NormalizedName, str] = {}
    for found in distributions():
        installed.setdefault(canonicalize_name(found.name), found.version)
    needed = [Requirement(line) for package in PACKAGES for line in requires(package) or []]
    pins = CONSTRAINTS.read_text(encoding="utf-8").splitlines() if CONSTRAINTS.exists() else []
    wrong: dict[NormalizedName, str] = {}
    for requirement in [*map(Requirement, pins), *needed]:
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = installed.get(name)
        if version is None and requirement in needed:
            wrong[name] = "is not installed"
        elif version and not requirement.specifier.contains(version, prereleases=True):
            wrong.setdefault(name, f"is {version}; tutee was tried with {requirement.specifier}")
    for name, how in wrong.items():
        yield Check("packages", False, f"{name} {how}; `rm .venv/installed && make install` mends it")
    if not wrong:
        tried = f"{len(installed)} installed, in the versions of {CONSTRAINTS}"
        yield Check("packages", True, tried if pins else f"what tutee needs; there is no {CONSTRAINTS} here")


def _machine() -> Check:
    memory = psutil.virtual_memory()
    cores = usable_cores()
    words = f"{cores} cores; {memory.available / 1e9:.0f} of {memory.total / 1e9:.0f} GB of memory are free"
    return Check("machine", True, words)


def _disk() -> Check:
    if PARAMETERS.exists():
        try:
            check_disk()
        except UnavailableError as error:
            return Check("disk", False, str(error))
    return Check("disk", True, f"{shutil.disk_usage(Path()).free / 1e9:.1f} GB are free here")


def _accelerator() -> Check:
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 1e9
        return Check("accelerator", True, f"{torch.cuda.get_device_name(0)}, {memory:.0f} GB")
    if not shutil.which("nvidia-smi"):
        return Check("accelerator", True, "none; the presets tiny and smollm2-135m need none")
    build = torch.version.cuda
    if build is None:
        way_out = "install a build for CUDA: `uv pip install -c constraints.txt torch` without local wheels"
        return Check("accelerator", False, f"this torch is a build for the CPU alone; {way_out}")
    why = f"torch is built for CUDA {build} and finds no device"
    return Check("accelerator", False, f"{why}; see what `nvidia-smi` says of the driver")


def _sandbox() -> Iterator[Check]:
    for name, active, words in protections():
        if active or name not in REQUIRED:
            yield Check("sandbox", True, f"{name}: {words}" if active else f"without {name}: {words}")
        else:
            way_out = "without it no program is graded; packages/grader/README.md says what it needs"
            yield Check("sandbox", False, f"{name}: {words}; {way_out}")


def _mlflow() -> Check:
    places = Places("")
    address = os.environ.get(mlflow_client.ADDRESS)
    if not mlflow_client.is_used(places):
        return Check("mlflow", True, f"{places.mlflow_database}, which the first retrain makes")
    try:
        mlflow_client.connect(places)
    except UnavailableError as error:
        return Check("mlflow", False, str(error))
    where = without_credentials(address) if address else str(places.mlflow_database)
    return Check("mlflow", True, f"{where} answers")


def _prefect() -> Check:
    if (address := named_server()) is None:
        running = scheduled_server(Places("").prefect)
        return Check("prefect", True, f"{running}, a schedule's" if running else "started where it is needed")
    try:
        httpx.get(f"{address}/health", timeout=30).raise_for_status()
    except httpx.HTTPError as error:
        way_out = "start it, correct the address, or unset the variable: then tutee starts one of its own"
        return Check("prefect", False, f"{ADDRESS}: {without_credentials(address)}: {error}; {way_out}")
    return Check("prefect", True, f"{without_credentials(address)} answers")


def _remote() -> Check:
    name = "dvc remote"
    try:
        with open_repository(Path()) as repo:
            if not repo.config["core"].get("remote"):
                return Check(name, True, "none, so results are on this machine alone (docs/operations.md)")
            remote = repo.cloud.get_remote()
            if remote.fs.exists(remote.path):
                return Check(name, True, f"{remote.path} can be read")
    except Exception as error:  # noqa: BLE001 - each kind of remote raises its own
        way_out = "see `dvc remote list`; S3, GCS, Azure and SSH need an extra each (docs/operations.md)"
        return Check(name, False, f"{without_credentials(str(error))}; {way_out}")
    way_out = "mount its disk; before the first `dvc push`, make it"
    return Check(name, False, f"{remote.path}: nothing is there; {way_out}")

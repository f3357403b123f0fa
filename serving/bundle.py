"""The folder that the service reads (a student, its base and its assignments), and a Bento made of it."""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import requires, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from tutee_grader.assignment import Assignment
from tutee_grader.errors import InputError
from tutee_grader.files import atomic_dir
from tutee_serializer.card import StudentCard
from tutee_serializer.course import Course

ABOUT_FILE = "about.json"
# The packages of this repository that a Bento contains: all that the service imports.
PACKAGES = ("serving", "tutee_evaluator", "tutee_serializer", "tutee_grader")
# Environment variables that turn off telemetry, and the search for models on the Hugging Face hub.
OFFLINE_ENVIRONMENT = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


@dataclass(frozen=True)
class About:
    """The origin of a served student: its course, training method and registered version.

    `metrics` maps names to values. `tests` is the form of the assignments' tests where their folders do
    not name it.
    """

    course: str
    synthetic: bool
    method: str
    version: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    tests: str | None = None

    @property
    def model(self) -> str:
        """The student's model name in the API."""
        return f"tutee-{self.course}-{self.method}" + (f"-v{self.version}" if self.version else "")


@dataclass(frozen=True)
class Bundle:
    """A folder with everything that the service needs to serve a student."""

    folder: Path
    about: About

    @property
    def student(self) -> Path:
        """The student's folder."""
        return self.folder / "student"

    @classmethod
    def load(cls, folder: Path) -> "Bundle":
        """Reads a folder that `pack` wrote; raises InputError where it did not."""
        file = folder / ABOUT_FILE
        try:
            about = About(**json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise InputError(
                f"{file}: missing, so {folder} holds no student to serve; `make retrain` makes one"
            ) from None
        except (ValueError, TypeError) as error:
            raise InputError(f"{file}: cannot be read ({error}); pack the student again") from error
        return cls(folder, about)

    def assignments(self) -> dict[str, Assignment]:
        """The assignments that the student can work on, by name."""
        folders = sorted(entry for entry in (self.folder / "assignments").iterdir() if entry.is_dir())
        return {folder.name: Assignment.load(folder, self.about.tests) for folder in folders}


def pack(adapter: Path, course: Course, destination: Path, about: dict[str, Any]) -> Bundle:
    """Writes the folder that the service reads; replaces an existing one.

    `about` may hold `version` and `metrics`; the rest is known from the course and the student's card.
    The base model is copied too, so that the folder needs nothing outside it. Raises InputError where
    the base model is not on this machine, and UnavailableError where the folder cannot be written.
    """
    card = StudentCard.load(adapter)
    described = About(
        course=course.name,
        synthetic=course.synthetic,
        method=card.method,
        tests=course.assignments.tests,
        **about,
    )
    assignments, _ = course.load_assignments()
    weights = _weights(card, adapter)
    with atomic_dir(destination) as folder:
        shutil.copytree(adapter, folder / "student")
        if weights != adapter:
            shutil.copytree(weights, folder / "base")
            replace(card, base="../base").save(folder / "student")
        for name in assignments:
            shutil.copytree(
                course.assignments_folder / name,
                folder / "assignments" / name,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        text = json.dumps(asdict(described), indent=2) + "\n"
        (folder / ABOUT_FILE).write_text(text, encoding="utf-8")
    return Bundle(destination, described)


@dataclass(frozen=True)
class BuiltBento:
    """A Bento in a store: its tag (name:version), its folder, and its size in bytes."""

    tag: str
    folder: Path
    size: int


def build_bento(folder: Path, store: Path) -> BuiltBento:
    """Builds a Bento with the code, the student and its assignments, without using the network.

    `folder` is one that `pack` wrote, `store` a folder of Bentos as BentoML keeps one. The Bento appears
    there whole or not at all: it is made in a folder `building` beside the store, where the next build clears
    away what a killed one has left. It pins the versions of the libraries installed here, so that a container
    gets the same ones.
    """
    import bentoml
    from bentoml._internal.bento import BentoStore
    from bentoml._internal.configuration.containers import BentoMLContainer

    about = Bundle.load(folder).about
    building = store.parent / "building"
    shutil.rmtree(building, ignore_errors=True)
    context, made, scratch = (building / name for name in ("context", "made", "scratch"))
    for empty in (context, made, scratch):
        empty.mkdir(parents=True)
    BentoMLContainer.tmp_bento_store_dir.set(str(scratch))
    for package in PACKAGES:
        source = Path(str(files(package)))
        shutil.copytree(source, context / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(folder, context / "student")
    bento = bentoml.build(
        "serving.service:ArtificialStudent",
        name=f"tutee-{about.course}",
        labels={"course": about.course, "method": about.method, "version": about.version or "none"},
        build_ctx=str(context),
        include=["*"],
        python={"packages": requirements(), "lock_packages": False},
        docker={"system_packages": ["bubblewrap"]},
        _bento_store=BentoStore(made),
    )
    built = BuiltBento(str(bento.tag), store / bento.tag.path(), bento.file_size)
    built.folder.parent.mkdir(parents=True, exist_ok=True)
    Path(bento.path).rename(built.folder)
    (store / bento.tag.latest_path()).write_text(str(bento.tag.version), encoding="utf-8")
    shutil.rmtree(building)
    return built


def delete_bentos(store: Path, tag: str, keep: int) -> None:
    """Keeps the Bento `tag`, and of those of its name the latest of each of the `keep - 1` versions before.

    A version has several where its code or assignments have changed, or a run was killed before it noted
    the Bento it had built.
    """
    from bentoml._internal.bento import BentoStore

    bentos = BentoStore(store)
    # `tag` is the latest, though the clock may have been set back.
    found = sorted(
        bentos.list(tag.partition(":")[0]),
        key=lambda bento: (str(bento.tag) == tag, bento.info.creation_time),
        reverse=True,
    )
    kept: dict[str, Any] = {}  # by version, the latest first
    for bento in found:
        if kept.setdefault(bento.info.labels["version"], bento) is not bento or len(kept) > keep:
            bentos.delete(bento.tag)


def code_hash() -> str:
    """A hash of PACKAGES; it changes with every file of theirs."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        source = Path(str(files(package)))
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            if "__pycache__" not in path.parts:
                digest.update(f"{package}/{path.relative_to(source)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def requirements() -> list[str]:
    """The libraries that PACKAGES need, each pinned to the version installed here."""
    names = {"bentoml", "fastapi", "httpx"}
    for package in PACKAGES[1:]:
        for line in requires(package) or []:
            requirement = Requirement(line)
            if requirement.marker is None and not requirement.name.startswith("tutee-"):
                names.add(requirement.name)
    # A CPU build of torch has a local version (2.13.0+cpu), which no index offers.
    return [f"{name}=={version(name).partition('+')[0]}" for name in sorted(names)]


def _weights(card: StudentCard, folder: Path) -> Path:
    """The folder with a student's full weights: its own, its base's, or a download from the hub."""
    if (folder / "config.json").exists():
        return folder
    base = Path(card.base_of(folder))
    if base.is_dir() and base != folder.resolve():
        return base if (base / "config.json").exists() else _weights(StudentCard.load(base), base)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(card.base, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError) as error:
        raise InputError(
            f"{folder}: its base model {card.base!r} is neither a folder nor downloaded on this machine"
        ) from error

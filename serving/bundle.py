"""The folder a service reads (a student with its base, and its assignments), and a Bento made of it."""

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import requires, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from tutee_grader import Assignment
from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard
from tutee_serializer.course import Course

FILE = "about.json"
# What a Bento holds of ours.
PACKAGES = ("serving", "tutee_evaluator", "tutee_serializer", "tutee_grader")
# No library of the service tells anyone that it runs, or looks for a model elsewhere.
QUIET = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


@dataclass(frozen=True)
class About:
    """What a served student says of itself.

    `version` is the registered one, `metrics` maps the names of figures to their values, and `tests` is
    the form of the assignments' tests where their folders do not say.
    """

    course: str
    synthetic: bool
    method: str
    version: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    tests: str | None = None

    @property
    def model(self) -> str:
        """The name under which the API offers this student."""
        return f"tutee-{self.course}-{self.method}" + (f"-v{self.version}" if self.version else "")


@dataclass(frozen=True)
class Bundle:
    """A folder that holds all that serving a student takes."""

    folder: Path
    about: About

    @property
    def student(self) -> Path:
        return self.folder / "student"

    @classmethod
    def load(cls, folder: Path) -> "Bundle":
        """Reads a folder that `pack` made; raises InputError where it is none."""
        file = folder / FILE
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
        """The assignments the student can be given, by name."""
        folders = sorted(entry for entry in (self.folder / "assignments").iterdir() if entry.is_dir())
        return {folder.name: Assignment.load(folder, self.about.tests) for folder in folders}


def pack(adapter: Path, course: Course, destination: Path, about: dict[str, Any]) -> Bundle:
    """Writes the folder that a service reads, replacing one that is there.

    `about` may hold `version` and `metrics`; the rest is known from the course and the student's card.
    The base is copied along, so that the folder needs nothing outside it. Raises InputError where
    the base is nowhere on this machine.
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
    building = destination.with_name(destination.name + ".part")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    shutil.copytree(adapter, building / "student")
    base = _base(card, adapter)
    if base != adapter:
        shutil.copytree(base, building / "base")
        replace(card, base="../base").save(building / "student")
    for name in assignments:
        shutil.copytree(
            course.assignments_folder / name,
            building / "assignments" / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    (building / FILE).write_text(json.dumps(asdict(described), indent=2) + "\n", encoding="utf-8")
    if destination.exists():
        shutil.rmtree(destination)
    building.rename(destination)
    return Bundle(destination, described)


@dataclass(frozen=True)
class BuiltBento:
    """A Bento in a store: its tag (name:version), its folder, and its size in bytes."""

    tag: str
    folder: Path
    size: int


def build_bento(folder: Path, bento_store: Path | None = None) -> BuiltBento:
    """Builds a Bento of the student in `folder`: code, model and assignments in one, and asks no network.

    `bento_store` is a folder of Bentos; left out, BentoML's own is used. The Bento names the versions of
    the libraries that are installed here, so that a container gets the same.
    """
    import bentoml
    from bentoml._internal.bento import BentoStore

    about = Bundle.load(folder).about
    if bento_store is not None:
        bento_store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tutee-bento-") as context:
        for package in PACKAGES:
            source = Path(str(files(package)))
            shutil.copytree(source, Path(context) / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(folder, Path(context) / "student")
        bento = bentoml.build(
            "serving.service:ArtificialStudent",
            name=f"tutee-{about.course}",
            labels={"course": about.course, "method": about.method, "version": about.version or "none"},
            build_ctx=context,
            include=["*"],
            python={"packages": requirements(), "lock_packages": False},
            docker={"system_packages": ["bubblewrap"]},
            **({} if bento_store is None else {"_bento_store": BentoStore(bento_store)}),
        )
    return BuiltBento(str(bento.tag), Path(bento.path), bento.file_size)


def code_hash() -> str:
    """Changes with any file of ours that a Bento holds."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        source = Path(str(files(package)))
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            if "__pycache__" not in path.parts:
                digest.update(f"{package}/{path.relative_to(source)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def requirements() -> list[str]:
    """What the packages in a Bento need, each pinned to the version installed here."""
    names = {"bentoml", "fastapi", "httpx"}
    for package in PACKAGES[1:]:
        for line in requires(package) or []:
            requirement = Requirement(line)
            if requirement.marker is None and not requirement.name.startswith("tutee-"):
                names.add(requirement.name)
    # A CPU build of torch has a local version (2.13.0+cpu), which no index offers.
    return [f"{name}=={version(name).partition('+')[0]}" for name in sorted(names)]


def _base(card: StudentCard, folder: Path) -> Path:
    """The folder with a student's weights: its own, its base's, or the hub's copy on this machine."""
    if (folder / "config.json").exists():
        return folder
    base = Path(card.base_of(folder))
    if base.is_dir() and base != folder.resolve():
        return base if (base / "config.json").exists() else _base(StudentCard.load(base), base)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(card.base, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError) as error:
        raise InputError(
            f"{folder}: its base model {card.base!r} is neither a folder nor downloaded on this machine"
        ) from error

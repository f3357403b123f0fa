"""A Bento of a course's champion: the code, the model with its base, the assignments, and their catalog."""

import hashlib
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass, replace
from importlib.metadata import requires, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl
from packaging.requirements import Requirement

from serving import NO_TELEMETRY
from serving.catalog import FILE as CATALOG
from serving.catalog import Catalog, Course
from tutee_evaluator.engines import EngineConfig
from tutee_evaluator.engines.baselines.revisions import FILE as REVISIONS
from tutee_grader.errors import InputError
from tutee_grader.files import folder_hash
from tutee_serializer.card import FILE as CARD
from tutee_serializer.card import MODEL_CARD, StudentCard

# The packages of this repository that a Bento contains: all that the service imports.
PACKAGES = ("serving", "tutee_evaluator", "tutee_serializer", "tutee_grader")
BUILDING = "building"  # beside the store of Bentos, where one is made
# Environment variables that turn off telemetry, and the search for models on the Hugging Face hub.
OFFLINE_ENVIRONMENT = {**NO_TELEMETRY, "HF_HUB_OFFLINE": "1"}


def write_context(name: str, course: Course, engine: EngineConfig, context: Path) -> None:
    """Writes into a new folder what a Bento of the course `name` is made of.

    The code, and in `student` the champion with its base, the assignments and the catalog, which has no other
    version. Of the revisions that a model looks up it leaves out whose they are. Raises InputError where the
    base model is not on this machine.
    """
    assert course.champion is not None
    champion = course.versions[course.champion]
    card = StudentCard.load(champion.folder)
    weights = _weights(card, champion.folder)
    for package in PACKAGES:
        _link(Path(str(files(package))), context / package)
    student = context / "student"
    model, base, assignments = (student / part for part in ("model", "base", "assignments"))
    # What is written anew below is no link: that would change the original.
    _link(champion.folder, model, but=(CARD, REVISIONS))
    if weights != champion.folder:
        _link(weights, base)
        card = replace(card, base="../base")
    card.save(model)
    if (champion.folder / REVISIONS).exists():
        revisions = pl.read_parquet(champion.folder / REVISIONS)
        revisions.with_columns(student=pl.lit("")).write_parquet(model / REVISIONS)
    for assignment in course.names:
        _link(course.assignments / assignment, assignments / assignment)
    packed = course.model_copy(
        update={
            "assignments": Path("assignments"),
            "challenger": None,
            "versions": {course.champion: champion.model_copy(update={"folder": Path("model")})},
        }
    )
    hashes = {
        Path(folder.name): folder_hash(folder, but=MODEL_CARD)
        for folder in (model, base, assignments)
        if folder.exists()
    }
    Catalog(courses={name: packed}, engine=engine, hashes=hashes).save(student / CATALOG)


@dataclass(frozen=True)
class BuiltBento:
    """A Bento in a store: its tag (name:version), its folder, and its size in bytes."""

    tag: str
    folder: Path
    size: int


def build_bento(name: str, course: Course, engine: EngineConfig, store: Path) -> BuiltBento:
    """Builds a Bento of the champion of the course `name`, without using the network.

    `store` is a folder of Bentos as BentoML keeps one. The Bento appears there whole or not at all: it is
    made in a folder `building` beside the store, where the next build clears away what a killed one has left.
    It pins the versions of the libraries installed here, so that a container gets the same ones.
    """
    import bentoml
    from bentoml._internal.bento import BentoStore
    from bentoml._internal.configuration.containers import BentoMLContainer

    assert course.champion is not None
    building = store.parent / BUILDING
    shutil.rmtree(building, ignore_errors=True)
    context, made, scratch = (building / part for part in ("context", "made", "scratch"))
    for empty in (context, made, scratch):
        empty.mkdir(parents=True)
    BentoMLContainer.tmp_bento_store_dir.set(str(scratch))
    write_context(name, course, engine, context)
    method = course.versions[course.champion].method
    bento = bentoml.build(
        "serving.service:ArtificialStudent",
        name=f"tutee-{name}",
        labels={"course": name, "method": method, "version": str(course.champion)},
        build_ctx=str(context),
        include=["*"],
        python={"packages": requirements(engine), "lock_packages": False},
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


def requirements(engine: EngineConfig) -> list[str]:
    """The libraries that PACKAGES and the engine need, each pinned to the version installed here."""
    names = {"bentoml", "fastapi", "httpx"} | ({"vllm"} if engine.backend == "vllm" else set())
    for package in PACKAGES[1:]:
        for line in requires(package) or []:
            requirement = Requirement(line)
            if requirement.marker is None and not requirement.name.startswith("tutee-"):
                names.add(requirement.name)
    # A CPU build of torch has a local version (2.13.0+cpu), which no index offers.
    return [f"{name}=={version(name).partition('+')[0]}" for name in sorted(names)]


def _link(source: Path, target: Path, but: Collection[str] = ()) -> None:
    """Copies a folder without the files named `but`: by hard links, where the file system has them."""
    shutil.copytree(
        source, target, ignore=shutil.ignore_patterns("__pycache__", *but), copy_function=_link_file
    )


def _link_file(source: str, target: str) -> None:
    try:
        os.link(Path(source).resolve(), target)  # what is downloaded from the hub are symbolic links
    except OSError:
        shutil.copy2(source, target)


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

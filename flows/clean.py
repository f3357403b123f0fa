"""Finds what no kept semester needs any more, so that the disk stays in bounds."""

import re
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows import mlflow_client
from flows.cache import find_unused
from flows.environment import disk_bytes
from flows.parameters import Parameters
from flows.places import Places
from flows.registry import Registry, Version
from flows.repository import LOCK
from flows.retention import present_lock, recorded_in, why_needed
from flows.server import scheduled_server
from flows.unneeded_runs import find_unneeded
from tutee_grader.files import folder_hash
from tutee_serializer.card import FILE as CARD


@dataclass(frozen=True)
class Garbage:
    """Something that is needed no more: what, its bytes, and what deletes it."""

    what: str
    size: int
    delete: Callable[[], None]

    def __str__(self) -> str:
        return f"{self.what}: {self.size / 1e6:,.1f} MB"


@dataclass(frozen=True)
class Found:
    """What stays, and why; what can be deleted; and what is left alone, and why."""

    stays: list[str]
    garbage: list[Garbage]
    left: list[str]


def find_garbage(keep: int, course: str | None = None) -> Found:
    """What can be deleted of a course of params.yaml, or of all, if `keep` test semesters are to stay.

    The lock of a retrain must be held, until all is deleted.
    """
    parameters = Parameters.load()
    found = Found([], [], [])
    kept: list[Version] = []
    for name in parameters.courses if course is None else [course]:
        places = [Places(name, preset) for preset in parameters.presets]
        if mlflow_client.is_used(places[0]):
            kept += _registered(places, keep, parameters, found)
        for of_preset in places:
            found.garbage.extend(_files(of_preset, kept))
    if course is None:
        _downloads(kept, found)
        _cache(kept, found)
    else:
        found.left.append(
            "DVC's cache, downloads of an MLflow server: they are of all courses; `tutee clean` without "
            "COURSE looks through them"
        )
    return found


def _registered(places: Sequence[Places], keep: int, parameters: Parameters, found: Found) -> list[Version]:
    """The versions of a course that stay; what of MLflow does not is added to `found`."""
    registry = Registry(places[0])
    versions = registry.versions()
    if not versions:
        return []
    registry.fail_dead_runs()
    why = why_needed(registry, keep, parameters)
    for run_id, reasons in why.items():
        if reasons:
            numbers = ", ".join(str(version.number) for version in versions if version.run_id == run_id)
            found.stays.append(f"{registry.model} versions {numbers}: {'; '.join(reasons)}")
    folders = [model for of_preset in places for model in _below(of_preset.models) if model.is_dir()]
    unneeded = find_unneeded(registry, why, present_lock(), {folder_hash(folder) for folder in folders})
    if unneeded.versions or unneeded.runs:
        found.garbage.append(Garbage(str(unneeded), unneeded.size, unneeded.delete))
    return [version for version in versions if why[version.run_id]]


def _files(places: Places, kept: Collection[Version]) -> Iterator[Garbage]:
    """Files of a course and preset: they only save work, and would save none any more."""
    version = re.compile(rf"tutee-{re.escape(places.course)}-(\d+)-[0-9a-f]{{16}}")
    numbers = {version.number for version in kept if version.tags["course"] == places.course}

    def is_gone(path: Path) -> bool:
        of = version.match(path.name)
        return of is not None and int(of[1]) not in numbers

    # Their names change with the tables: what is older than these is found by nobody.
    compared = [path for path in _below(places.compared) if is_gone(path) or _is_older(path, places.dialogs)]
    yield from _paths(f"{places.compared}: rollouts of versions that are gone, and from older data", compared)
    rolling = [
        path
        for path in _below(places.rolling)
        if _is_older(path, places.rollout(path.name.rpartition("-")[0]))
    ]
    yield from _paths(f"{places.rolling}: what killed rollouts left that have been made since", rolling)
    training = places.checkpoints("")
    checkpoints = [path for path in _below(training) if _is_older(path, places.model(path.name) / CARD)]
    yield from _paths(f"{training}: checkpoints of trainings that have ended since", checkpoints)


def _downloads(kept: Collection[Version], found: Found) -> None:
    """Adds the downloads of an MLflow server that are of no kept version."""
    downloads = Places("").mlflow_downloads
    runs = {version.run_id for version in kept}
    unneeded = [path for path in _below(downloads) if path.name not in runs]
    found.garbage.extend(_paths(f"{downloads}: runs that MLflow's server has", unneeded))


def _cache(kept: Collection[Version], found: Found) -> None:
    """Adds what of DVC's cache neither the folder needs nor a commit with the results of a kept version."""
    if not LOCK.exists():
        return
    if not kept:
        found.left.append("DVC's cache: MLflow knows no version, so none says which results are needed")
        return
    unused = find_unused(lambda lock: any(recorded_in(lock, version.tags) for version in kept))
    if unused is None:
        found.left.append("DVC's cache: it lies elsewhere; `dvc gc --projects` knows who else uses it")
    elif unused.count:
        what = f"DVC's cache: {unused.count:,} objects of earlier results ({unused.comes_back})"
        found.garbage.append(Garbage(what, unused.size, unused.delete))


def shrink_databases() -> Iterator[tuple[Path, int]]:
    """Gives back to the disk what SQLite files have free: each that shrank, and by how much.

    Prefect's is left alone while a schedule works with it.
    """
    of_all = Places("")
    prefect = of_all.prefect / "prefect.db"
    databases = [of_all.mlflow_database, *([] if scheduled_server(of_all.prefect) else [prefect])]
    for file in databases:
        if file.exists():
            before = file.stat().st_size
            with closing(sqlite3.connect(file, timeout=60)) as database:
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if (freed := before - file.stat().st_size) > 0:
                yield file, freed


def _below(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _is_older(path: Path, than: Path) -> bool:
    return than.exists() and path.stat().st_mtime < than.stat().st_mtime


def _paths(what: str, paths: Sequence[Path]) -> Iterator[Garbage]:
    if paths:
        yield Garbage(f"{what} ({len(paths):,})", disk_bytes(*paths), partial(_delete, paths))


def _delete(paths: Sequence[Path]) -> None:
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink()

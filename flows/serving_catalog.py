"""Keeps the service's catalog as the registry is: `tutee serve` asks the registry again and again."""

import time
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Never

from flows import mlflow_client
from flows.environment import explain
from flows.parameters import Setup
from flows.registry import CHALLENGER, CHAMPION, Registry, Version
from flows.tracking import BASE, MODEL
from serving import catalog
from serving.catalog import Catalog
from tutee_grader.errors import UnavailableError
from tutee_serializer.course import Course

ASK_S = 2.0


class ServedCourse:
    """A course with its registry, and what of it a service may play."""

    def __init__(self, setup: Setup) -> None:
        self._entry, self.left_out = course_entry(setup.course)
        self._places = setup.places
        self._registry: Registry | None = None
        self._versions: dict[int, catalog.Version] = {}

    def ask(self) -> tuple[catalog.Course, dict[Path, str], list[Version]]:
        """The course's entry as the registry is now, the hashes of its models, and what is left to fetch.

        A version that was trained on students who are forgotten by now is no longer among the versions,
        unless it is champion. Of a server's versions only those on this disk are; the champion and the
        challenger are fetched.
        """
        if not mlflow_client.is_used(self._places):
            return self._entry, {}, []  # asking would make a database
        self._registry = registry = self._registry or Registry(self._places)
        champion, challenger = registry.get_by_alias(CHAMPION), registry.get_by_alias(CHALLENGER)
        first = {version.number for version in (champion, challenger) if version}
        registered = {
            version.number: version
            for version in registry.versions()
            if not version.forgotten or (champion and version.number == champion.number)
        }
        hashes: dict[Path, str] = {}
        to_fetch = []
        for number, version in registered.items():
            if number not in self._versions:
                if number in first or registry.is_here(version):
                    self.fetch(version)
                else:
                    to_fetch.append(version)
                    continue
            hashes |= _hashes(self._versions[number].folder, version)
        versions = {number: self._versions[number] for number in registered if number in self._versions}
        numbers = {
            alias: version.number if version and version.number in versions else None
            for alias, version in ((CHAMPION, champion), (CHALLENGER, challenger))
        }
        return self._entry.model_copy(update={**numbers, "versions": versions}), hashes, to_fetch

    def fetch(self, version: Version) -> None:
        """Brings a version to this disk, from where the service plays it."""
        assert self._registry is not None
        self._versions[version.number] = version_entry(self._registry, version)


class CatalogFile:
    """The catalog of courses in `file`, for the service to read."""

    def __init__(self, setups: Sequence[Setup], file: Path) -> None:
        self.courses = {setup.course.name: ServedCourse(setup) for setup in setups}
        self._engine = setups[0].parameters.engine
        self._file = file
        self._written: Catalog | None = None

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """Assignments that are not served, as COURSE/NAME, each with the reason."""
        return [
            (f"{name}/{assignment}", reason)
            for name, course in self.courses.items()
            for assignment, reason in course.left_out.items()
        ]

    def update(self) -> bool:
        """Writes the file where the registries have changed; returns whether versions are left to fetch.

        Then it has fetched one of them, which the next update tells of.
        """
        asked = {name: course.ask() for name, course in self.courses.items()}
        hashes = {path: value for _, of_course, _ in asked.values() for path, value in of_course.items()}
        entries = {name: entry for name, (entry, _, _) in asked.items()}
        new = Catalog(courses=entries, engine=self._engine, hashes=hashes)
        if new != self._written:
            new.save(self._file)
            self._written = new
        for name, (_, _, to_fetch) in asked.items():
            if to_fetch:
                self.courses[name].fetch(to_fetch[-1])  # the newest first
                return True
        return False

    def keep_current(self) -> Never:
        """Updates the file for ever; says once where the registry cannot be asked, and goes on."""
        # Here, because the service is started before this is imported.
        from mlflow.exceptions import MlflowException

        away = False
        while True:
            try:
                more = self.update()
                if away:
                    print("serve: the registry answers again", flush=True)
                away = False
            except Exception as error:
                known = isinstance(error, UnavailableError | MlflowException)
                reason = explain(error) or (str(error) if known else None)
                if reason is None:
                    raise
                if not away:
                    print(f"serve: the registry cannot be asked, what is served stays: {reason}", flush=True)
                away, more = True, False
            time.sleep(0 if more else ASK_S)


def course_entry(course: Course) -> tuple[catalog.Course, dict[str, str]]:
    """A course without any version; and the assignments that are left out, each with the reason."""
    loaded, left_out = course.load_assignments()
    left_out |= {name: "it has no task (task.md)" for name, one in loaded.items() if not one.task}
    entry = catalog.Course(
        synthetic=course.synthetic,
        assignments=course.assignments_folder.resolve(),
        names=tuple(name for name in loaded if name not in left_out),
        tests=course.assignments.tests,
    )
    return entry, left_out


def version_entry(registry: Registry, version: Version) -> catalog.Version:
    """A version, whose files are fetched where a server has them."""
    metrics = registry.metrics(version)
    return catalog.Version(
        method=version.method,
        folder=registry.folder(version).resolve(),
        metrics={name: value for name, value in metrics.items() if isfinite(value)},
    )


def _hashes(folder: Path, version: Version) -> dict[Path, str]:
    """The hashes under which the folders of a version and of its base were registered.

    Versions of earlier releases lack the base's, or both.
    """
    registered = {folder: version.tags.get(MODEL), folder.parent / "base": version.tags.get(BASE)}
    return {path: value for path, value in registered.items() if value}

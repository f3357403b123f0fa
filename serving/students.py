"""The students that the service plays: loaded when they are asked for, swapped when the catalog changes."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from serving import metrics
from serving.catalog import Catalog, Course, Version, load_assignments
from serving.engine import EngineThread
from serving.errors import ApiError
from tutee_evaluator.engines.calibrated import Calibrated, TrainedStudent
from tutee_grader.assignment import Assignment
from tutee_grader.errors import TuteeError
from tutee_grader.processes import usable_cores

LOOK_S, SHORT_LOOK_S = 1.0, 0.1  # between two looks at the catalog, and at the start
RETRY_S = 30.0  # before another attempt to load a champion that could not be
PREFIX_BYTES = 500_000_000  # of what each student has read and written: several of them are in memory
KEPT = 3  # students in memory besides the champions: those last asked for

_log = logging.getLogger("tutee.serving")


@dataclass(eq=False)
class LoadedStudent:
    """A student in memory; `users` requests are being answered by it."""

    model: str
    student: TrainedStudent
    engine: EngineThread
    files: tuple[Path, str | None]  # the folder, and its hash
    users: int = 0
    used: float = field(default_factory=time.monotonic)

    @property
    def has_token_logprobs(self) -> bool:
        """Whether the probability of each token is known: a mixture with look-ups has none."""
        return not isinstance(self.student, Calibrated)


@dataclass(eq=False)
class ServedCourse:
    """A course as it is served: `student` is the champion that answers, `entry` what the catalog says.

    `problem` says why there is none, or why it is not the one that the registry calls champion.
    """

    name: str
    entry: Course
    assignments: dict[str, Assignment] = field(default_factory=dict)
    student: LoadedStudent | None = None
    problem: str | None = "the champion is being loaded"

    @property
    def champion(self) -> str | None:
        """The model name of the registry's champion."""
        return None if self.entry.champion is None else version_name(self.name, self.entry.champion)


class Students:
    """All students of a catalog, a file that is looked at every second.

    A new champion is loaded beside the old one, which answers until then, and as long as the new one cannot
    be loaded. A version that is not a champion is loaded when it is asked for.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp: object = None
        self._catalog = Catalog(courses={})
        self.courses: dict[str, ServedCourse] = {}
        self.problem: str | None = f"{file}: not there yet"
        self._loaded: dict[str, LoadedStudent] = {}
        self._replaced: list[LoadedStudent] = []
        self._loading = asyncio.Lock()  # one student at a time: loading takes memory and cores
        self._retry = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether every course has a champion that answers."""
        return bool(self.courses) and all(course.student for course in self.courses.values())

    @property
    def loaded(self) -> list[str]:
        """The model names of the students in memory."""
        return sorted(self._loaded)

    async def watch(self) -> None:
        """Follows the catalog until it is cancelled."""
        # While `tutee serve` asks the registry what to load.
        imports = asyncio.create_task(asyncio.to_thread(_import_libraries))
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - a bug must not end the watch: the old students go on
                _log.exception("the catalog could not be followed")
                self.problem = f"{self._file}: could not be followed: {type(error).__name__}: {error}"
            await asyncio.sleep(LOOK_S if imports.done() else SHORT_LOOK_S)

    async def look(self) -> None:
        """Reads the catalog if it has changed, and loads the champions that do not answer yet."""
        stamp = _stamp(self._file)
        problem = self.problem or any(course.problem for course in self.courses.values())
        if stamp == self._stamp and not (problem and time.monotonic() >= self._retry):
            return
        changed, self._stamp, self._retry = stamp != self._stamp, stamp, time.monotonic() + RETRY_S
        try:
            self._catalog = await asyncio.to_thread(Catalog.load, self._file)
        except TuteeError as error:
            self.problem = str(error)
            return
        self.problem = None
        for name in self.courses.keys() - self._catalog.courses.keys():
            del self.courses[name]
        for name, entry in self._catalog.courses.items():
            course = self.courses.setdefault(name, ServedCourse(name, entry))
            course.entry = entry
            await self._update(course, changed)
        self._unload()

    async def _update(self, course: ServedCourse, changed: bool) -> None:
        """Brings a course to what its entry in the catalog says, if that can be loaded."""
        before = course.problem
        try:
            if changed or course.problem:
                course.assignments = await asyncio.to_thread(load_assignments, self._catalog, course.entry)
            if course.champion is None:
                command = f"`tutee retrain {course.name}` makes one"
                course.problem = f"no version of {course.name} is champion yet; {command}"
                if course.student is None:
                    return
            else:
                student = await self._load(course.name, course.entry.champion or 0)
                if course.student is not student:
                    _log.info("%s answers for %s", student.model, champion_name(course.name))
                    metrics.SWAPS.labels(course.name).inc()
                course.student, course.problem = student, None
        except (TuteeError, ApiError) as error:
            course.problem = str(error)
            metrics.LOAD_FAILURES.labels(course.name).inc()
        if course.problem and course.problem != before:
            _log.error("%s: %s", course.name, course.problem)
        metrics.serving(course.name, course.student.model if course.student else None)

    @asynccontextmanager
    async def use(self, name: str | None) -> AsyncIterator[tuple[LoadedStudent, ServedCourse]]:
        """The student of a model name, or the champion of the only course; it stays loaded for the block.

        Raises ApiError where there is no such model, or it cannot be loaded.
        """
        course, number = self._find(name)
        if number is None:
            if course.student is None:
                raise not_ready(course.problem or "")
            student = course.student
        else:
            try:
                student = await self._load(course.name, number)
            except TuteeError as error:
                raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "model_unavailable", str(error)) from error
        student.users += 1
        try:
            yield student, course
        finally:
            student.users -= 1
            student.used = time.monotonic()
            self._unload()

    def names(self) -> dict[str, tuple[str, int | None]]:
        """Every model name with its course and version; None: the champion that answers."""
        found: dict[str, tuple[str, int | None]] = {}
        for name, course in self.courses.items():
            if course.student:
                found[champion_name(name)] = name, None
            if course.entry.challenger is not None:
                found.setdefault(f"{champion_name(name)}-challenger", (name, course.entry.challenger))
            for number in course.entry.versions:
                found.setdefault(version_name(name, number), (name, number))
        return found

    def _find(self, name: str | None) -> tuple[ServedCourse, int | None]:
        if not self.courses:
            raise not_ready(self.problem or "")
        if name is None:
            if len(self.courses) > 1:
                known = ", ".join(map(champion_name, self.courses))
                raise ApiError(
                    HTTPStatus.BAD_REQUEST,
                    "invalid_value",
                    f"several courses are served; name a model: {known}",
                    "model",
                )
            (course,) = self.courses.values()
            return course, None
        for course in self.courses.values():
            if name == champion_name(course.name):
                return course, None
        names = self.names()
        if name not in names:
            raise unknown_model(name, names)
        place, number = names[name]
        return self.courses[place], number

    async def _load(self, name: str, number: int) -> LoadedStudent:
        """The student of a version, loaded if it is not; raises TuteeError where it cannot be."""
        model, catalog = version_name(name, number), self._catalog
        version = catalog.courses[name].versions.get(number)
        if version is None:
            raise TuteeError(f"{model}: the catalog says nothing of its files; serve again")
        files = version.folder, catalog.hashes.get(version.folder.resolve())

        def known() -> LoadedStudent | None:
            found = self._loaded.get(model)
            return found if found and found.files == files else None

        if found := known():
            return found
        async with self._loading:
            if found := known():
                return found
            begun = time.monotonic()
            student = await asyncio.to_thread(_load_student, catalog, version)
            loaded = LoadedStudent(model, student, EngineThread(student, model), files)
            if model in self._loaded:  # its files have changed, as where a student was forgotten
                self._replaced.append(self._loaded[model])
            self._loaded[model] = loaded
            _log.info("%s is loaded (%.1f s)", model, time.monotonic() - begun)
            return loaded

    def _unload(self) -> None:
        """Lets go of the students that nobody uses, but for the champions and the last others."""
        champions = {course.student for course in self.courses.values()}
        others = sorted(
            (one for one in self._loaded.values() if one not in champions), key=lambda one: -one.used
        )
        for one in others[KEPT:]:
            if not one.users:
                one.engine.close()
                del self._loaded[one.model]
        for one in [one for one in self._replaced if not one.users and one not in champions]:
            one.engine.close()
            self._replaced.remove(one)

    def close(self) -> None:
        """Ends the threads of all students."""
        for one in (*self._loaded.values(), *self._replaced):
            one.engine.close()


def champion_name(course: str) -> str:
    """The model name of a course's champion, whichever it is."""
    return f"tutee-{course}"


def version_name(course: str, number: int) -> str:
    """The model name of a registered version."""
    return f"tutee-{course}-v{number}"


def unknown_model(name: str, known: Iterable[str]) -> ApiError:
    """The error of a request that names a model which is not served."""
    message = f"there is no model {name[:80]!r}; there are: {', '.join(known)}"
    return ApiError(HTTPStatus.NOT_FOUND, "model_not_found", message, "model")


def not_ready(problem: str) -> ApiError:
    """The error of a request that comes before there is a student to answer it."""
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "not_ready",
        f"no student answers yet: {problem}",
        None,
        {"Retry-After": "2"},
    )


def _import_libraries() -> None:
    """Imports what loading a student takes, which is seconds."""
    import peft  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401


def _load_student(catalog: Catalog, version: Version) -> TrainedStudent:
    """The student of a version whose files are as they were registered; raises TuteeError."""
    # Here, in a thread, for it takes seconds: the service answers /livez meanwhile.
    import torch

    from tutee_evaluator.engines.loading import load_student

    # One core is left for requests and grading: a thread that waits for a busy core holds up all others.
    torch.set_num_threads(max(1, min(torch.get_num_threads(), usable_cores() - 1)))
    engine = catalog.engine
    kept = min(engine.prefix_bytes, PREFIX_BYTES)
    try:
        catalog.check(version)
        return load_student(version.folder, engine.model_copy(update={"prefix_bytes": kept}))
    except TuteeError:
        raise
    except Exception as error:  # libraries have many for files that are broken
        raise TuteeError(
            f"{version.folder}: the model cannot be loaded ({type(error).__name__}: {error}); train it "
            "again, or promote another version"
        ) from error


def _stamp(file: Path) -> object:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino

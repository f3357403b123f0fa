"""The first stage: makes a synthetic class write its log, and notes what every later stage depends on."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec

from tutee_grader.errors import TuteeError
from tutee_grader.files import atomic_file
from tutee_serializer.course import Course, Simulator
from tutee_serializer.falcon import HUB, write_assignments
from tutee_serializer.places import Places
from tutee_serializer.privacy import read_forgotten, write_forgotten
from tutee_serializer.text import find


@dataclass(frozen=True)
class Collected:
    """`files` maps each input file, relative to the course file, to its SHA-256."""

    files: dict[str, str]
    simulated: bool


def collect(course: Course, places: Places) -> Collected:
    """Runs the course's simulator, if it has one and its log is not there yet, and writes `inputs.json`.

    The same simulator with the same settings writes the same bytes, so it only runs where one of them, or the
    log, has changed. Raises LogError where there is no log, TuteeError where the simulator fails.
    """
    places.source.mkdir(parents=True, exist_ok=True)
    write_forgotten(read_forgotten(places), places.forgotten_noted)
    if course.logs.format == "falcon":
        write_assignments(course)
    files = _hashes(_inputs(course), course.folder)
    simulated = False
    if course.simulator:
        files["simulator"] = _hash(course.simulator.model_dump_json().encode())
        if not _is_up_to_date(files, course, places):
            _simulate(course.simulator, course, places.simulated)
            simulated = True
        files["submissions.csv"] = _hash_file(places.simulated)
    text = json.dumps(files, indent=2, sort_keys=True) + "\n"
    if not places.inputs.exists() or places.inputs.read_text(encoding="utf-8") != text:
        places.inputs.write_text(text, encoding="utf-8")
    return Collected(files, simulated)


def _inputs(course: Course) -> Iterator[str]:
    yield str(course.file)
    yield from _below(course.assignments_folder)
    if course.simulator:
        program = course.folder / course.simulator.program
        yield from _below(program) if program.is_dir() else [str(program)]
        return
    path = course.logs.path
    for pattern in path.values() if isinstance(path, dict) else [str(path)]:
        yield from find(pattern, course.folder)


def _below(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in inside):
            yield str(path)


def _hashes(names: Iterable[str], folder: Path) -> dict[str, str]:
    files = {}
    for name in names:
        if name.startswith(HUB):
            files[name] = name
        elif "://" in name:
            # A remote file is not fetched for this: what its server says of it stands for it.
            system, path = fsspec.core.url_to_fs(name)
            files[name] = str(system.ukey(path))
        else:
            files[Path(os.path.relpath(name, folder)).as_posix()] = _hash_file(Path(name))
    return files


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_up_to_date(files: dict[str, str], course: Course, places: Places) -> bool:
    if not places.simulated.exists() or not places.inputs.exists():
        return False
    before: dict[str, str] = json.loads(places.inputs.read_text(encoding="utf-8"))
    assert course.simulator
    own = [name for name in files if name.startswith((course.simulator.program, course.assignments.path))]
    unchanged = all(before.get(name) == files[name] for name in ["simulator", *own])
    return unchanged and before.get("submissions.csv") == _hash_file(places.simulated)


def _simulate(simulator: Simulator, course: Course, target: Path) -> None:
    program = course.folder / simulator.program
    students = [f"{semester}={count}" for semester, count in simulator.students.items()]
    with atomic_file(target) as log:
        command = [
            sys.executable,
            str(program if program.exists() else program.with_suffix(".py")),
            *("--out", str(log)),
            *("--seed", str(simulator.seed)),
            *(part for one in students for part in ("--semester", one)),
        ]
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode != 0 or not log.exists():
            raise TuteeError(
                f"{program}: the simulator ended with code {done.returncode}, no log:\n{done.stderr[-2000:]}"
            )

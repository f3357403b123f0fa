"""The first stage: runs the simulator of a course that has one, and hashes all files the course reads."""

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
from tutee_grader.files import atomic_file, hash_file
from tutee_serializer.course import Course, Simulator
from tutee_serializer.errors import CourseError
from tutee_serializer.logs import FORMATS
from tutee_serializer.logs.archives import find
from tutee_serializer.logs.falcon import HUB

# What `collect` adds for a course with a simulator: the hash of its settings, and that of the log it wrote.
OF_SIMULATOR = {"simulator", "submissions.csv"}


@dataclass(frozen=True)
class CollectedInputs:
    """`files` maps each input file, relative to the course file, to its SHA-256; `simulated`: it ran now."""

    files: dict[str, str]
    simulated: bool


def collect(course: Course, inputs: Path, simulated: Path) -> CollectedInputs:
    """Runs the course's simulator, where its log is not up to date, and writes hashes to `inputs`.

    The same simulator with the same settings writes the same bytes to `simulated`, so it runs only where one
    of them, or the log, has changed. Raises LogError where there is no log, TuteeError where the simulator
    fails.
    """
    write_assignments = FORMATS[course.logs.format].write_assignments
    if write_assignments is not None:
        write_assignments(course.log(), course.assignments_folder)
    files = read_inputs(course)
    ran = False
    if course.simulator:
        files["simulator"] = _hash(course.simulator.model_dump_json().encode())
        if not _is_up_to_date(files, course, inputs, simulated):
            _simulate(course.simulator, course, simulated)
            ran = True
        files["submissions.csv"] = hash_file(simulated)
    text = json.dumps(files, indent=2, sort_keys=True) + "\n"
    if not inputs.exists() or inputs.read_text(encoding="utf-8") != text:
        with atomic_file(inputs) as part:
            part.write_text(text, encoding="utf-8")
    return CollectedInputs(files, ran)


def read_inputs(course: Course) -> dict[str, str]:
    """The hash of each file that the course reads, by its name.

    The name is relative to the course file, or absolute where the course file has an absolute path: a clone
    elsewhere has the same ones. Those of OF_SIMULATOR are not among them. Raises LogError where there is no
    log.
    """
    return _hashes(_files(course), course.folder)


def input_files(course: Course) -> Iterator[str]:
    """The files that the course reads; raises LogError where there is no log."""
    return (name for _, name in _files(course))


def _files(course: Course) -> Iterator[tuple[str, str]]:
    """Each file that the course reads, behind the path in the course file by which it is found."""
    yield course.file.name, str(course.file)
    for name in _below(course.assignments_folder):
        yield course.assignments.path, name
    if course.simulator:
        program = course.folder / course.simulator.program
        for name in _below(program) if program.is_dir() else [str(program)]:
            yield course.simulator.program, name
        return
    path = course.logs.path
    for pattern in path.values() if isinstance(path, dict) else [str(path)]:
        for name in find(pattern, course.folder):
            yield pattern, name


def _below(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in inside):
            yield str(path)


def _hashes(found: Iterable[tuple[str, str]], folder: Path) -> dict[str, str]:
    files = {}
    for written, name in found:
        if name.startswith(HUB):
            files[name] = name
        elif "://" in name:
            # A remote file is not fetched for this; its server's ETag or modification time represents it.
            system, path = fsspec.core.url_to_fs(name)
            files[name] = str(system.ukey(path))
        else:
            shown = name if Path(written).is_absolute() else os.path.relpath(name, folder)
            files[Path(shown).as_posix()] = hash_file(Path(name))
    return files


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_up_to_date(files: dict[str, str], course: Course, inputs: Path, simulated: Path) -> bool:
    if not simulated.exists() or not inputs.exists():
        return False
    before: dict[str, str] = json.loads(inputs.read_text(encoding="utf-8"))
    assert course.simulator
    own = [name for name in files if name.startswith((course.simulator.program, course.assignments.path))]
    unchanged = all(before.get(name) == files[name] for name in ["simulator", *own])
    return unchanged and before.get("submissions.csv") == hash_file(simulated)


def simulate_arms(course: Course, runs: int, target: Path) -> None:
    """Writes to `target` what the students of the newest simulated semester do in every arm, `runs` times.

    Raises CourseError where the course's class is not a simulated one with arms.
    """
    if course.simulator is None or not course.simulator.arms:
        raise CourseError(
            f"{course.file}: `simulator.arms` is missing, so no true effect of a policy is known"
        )
    _simulate(course.simulator, course, target, "--reruns", str(runs))


def _simulate(simulator: Simulator, course: Course, target: Path, *more: str) -> None:
    program = course.folder / simulator.program
    students = [f"{semester}={count}" for semester, count in simulator.students.items()]
    with atomic_file(target) as log:
        command = [
            sys.executable,
            str(program if program.exists() else program.with_suffix(".py")),
            *("--out", str(log)),
            *("--seed", str(simulator.seed)),
            *(part for one in students for part in ("--semester", one)),
            *(part for arm in simulator.arms for part in ("--arm", arm)),
            *more,
        ]
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode != 0 or not log.exists():
            raise TuteeError(
                f"{program}: the simulator ended with code {done.returncode}, no log:\n{done.stderr[-2000:]}"
            )

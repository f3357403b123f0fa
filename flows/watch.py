"""Notices new and changed logs of a course by their content, once their files have stopped growing."""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path

import fsspec

from tutee_grader.files import atomic_file
from tutee_serializer.course import Course
from tutee_serializer.errors import LogError
from tutee_serializer.ingest.source import OF_SIMULATOR, input_files, read_inputs

# A file that has the same size and time after this many seconds is taken to be whole, ...
SETTLED_S = 10.0
# ... and the next look waits for one that still grows after this long.
PATIENCE_S = 900.0


def look(course: Course, inputs: Path, seen: Path, settled_s: float = SETTLED_S) -> list[str]:
    """The files that a retrain should read: new ones, changed ones and removed ones, since the last retrain.

    `inputs` are the hashes that stage `source` wrote then. None where nothing changed, where a file still
    grows, where there is no log yet, or where the same change was returned before: `seen` remembers it, so
    that a log that cannot be used is not tried again and again.
    """
    try:
        if not _settled(course, settled_s):
            return []
        now = read_inputs(course)
    except LogError:
        return []
    changed = list(changes(now, inputs))
    state = hashlib.sha256(json.dumps(now, sort_keys=True).encode()).hexdigest()
    if not changed or (seen.exists() and seen.read_text(encoding="utf-8") == state):
        return []
    with atomic_file(seen) as part:
        part.write_text(state, encoding="utf-8")
    return changed


def changes(now: Mapping[str, str], inputs: Path) -> dict[str, str]:
    """The files that differ from those of `inputs`, in order, and how: new, removed or changed.

    `now` are the hashes of `read_inputs`.
    """
    before = json.loads(inputs.read_text(encoding="utf-8")) if inputs.exists() else {}
    return {
        name: "new" if name not in before else "removed" if name not in now else "changed"
        for name in sorted({*now, *before} - OF_SIMULATOR)
        if now.get(name) != before.get(name)
    }


def _settled(course: Course, settled_s: float) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    before = _sizes(course)
    while time.monotonic() < deadline:
        time.sleep(settled_s)
        now = _sizes(course)
        if now == before:
            return True
        before = now
    return False


def _sizes(course: Course) -> Mapping[str, str]:
    """What changes while a file is written: its size and its time, or what its server says in their place."""
    sizes = {}
    for name in input_files(course):
        if "://" in name:
            system, path = fsspec.core.url_to_fs(name)
            sizes[name] = str(system.ukey(path))
        else:
            sizes[name] = _size(Path(name))
    return sizes


def _size(file: Path) -> str:
    try:
        status = file.stat()
    except FileNotFoundError:  # renamed a moment ago: the next look finds it
        return "gone"
    return f"{status.st_size} {status.st_mtime_ns}"

"""The environment a command runs in: variables, garbage, disk space, permissions, lock, parent process."""

import atexit
import ctypes
import errno
import fcntl
import gc
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tutee_trainer.preset import Preset

NO_TELEMETRY = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}
# For the processes that train. By default OpenMP's threads spin for milliseconds while they wait: with more
# work than cores that doubles the time of a step, and not spinning at all doubles it where cores are free.
TRAINING_SPEED = {"GOMP_SPINCOUNT": "10000"}
# Parameters of glibc's mallopt: never take memory by mmap, return only what is beyond 2 GB. Memory that goes
# back to the system after a step has to be zeroed for the next one: a third of the time of a step of
# SmolLM2. (The environment variables of the same names do not go this far: glibc refuses thresholds for mmap
# above 32 MB.)
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
KEPT_BYTES = (1 << 31) - 1

# What a run writes into, next to params.yaml.
WRITTEN_FOLDERS = ("data", "models", "reports", "mlruns", "bentos", ".dvc")
# What a run of the tiny preset writes, copies in the caches of DVC and MLflow included.
NEEDED_BYTES = 300_000_000

LOCK_VARIABLE = "TUTEE_RETRAIN"
# Processes of a killed retrain hold its lock for the moment they take to end.
MOMENT_S = 2.0
DAY_S = 24 * 60 * 60.0

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}
# Libraries written in Rust or C++ raise types of their own; the words are the operating system's.
_FULL_WORDS = ("No space left on device", "disk is full", "Disk quota exceeded")
_LOCKED_WORDS = ("database is locked",)
_AWAY_WORDS = ("Max retries exceeded with url",)
_NOT_WRITABLE_WORDS = (
    "Permission denied",
    "Read-only file system",
    "readonly database",
    "unable to open database file",
)


def set_variables() -> None:
    """Turns every telemetry off and training's settings on, for this process and those it starts.

    Called before any library that reads them is imported.
    """
    os.environ.update(NO_TELEMETRY)
    for variable, value in TRAINING_SPEED.items():
        os.environ.setdefault(variable, value)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def collect_less_garbage() -> None:
    """Lets this process start and end sooner; one that does no more than `import peft` takes a quarter less.

    Imports make a million objects that stay; by default they are searched for garbage time and again, and
    once more at the end.
    """
    gc.set_threshold(50_000, 10, 10)
    atexit.register(gc.freeze)


def disable_hub(preset: "Preset") -> None:
    """Keeps transformers from asking the hub for a tiny model's files, which it would do on every load."""
    from tutee_trainer.preset import TinyModel

    if isinstance(preset.model, TinyModel):
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def check_disk(root: Path = Path()) -> None:
    """Raises UnavailableError that names each folder that cannot be written, or a full disk.

    Called before a run has worked for minutes.
    """
    from tutee_grader.errors import UnavailableError

    problems = []
    for folder in (root, *(root / name for name in WRITTEN_FOLDERS)):  # dvc.lock and mlflow.db lie in `root`
        try:
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"probe")
        except OSError as error:
            problems.append(
                f"{folder}: cannot be written ({error.strerror}); fix its owner, its mode or its disk"
            )
    free = shutil.disk_usage(root).free
    if free < NEEDED_BYTES:
        problems.append(
            f"{root.resolve()}: the disk is full: {free / 1e6:.0f} MB are free, and a run takes "
            f"{NEEDED_BYTES / 1e6:.0f}; free some space, then run again"
        )
    if problems:
        raise UnavailableError("\n".join(problems))


def disk_bytes(*paths: Path) -> int:
    """What files, and those in folders, take on the disk; one that has several names counts once."""
    files = {}
    for path in chain(paths, *(path.rglob("*") for path in paths)):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            files[status.st_ino] = status.st_blocks * 512
    return sum(files.values())


def explain(error: BaseException) -> str | None:
    """Why `error` was raised, where its cause is a disk, a permission, another process or a server.

    None otherwise.
    """
    for cause in causes(error):
        number = cause.errno if isinstance(cause, OSError) else None
        words = str(cause)
        if number in _FULL or any(word in words for word in _FULL_WORDS):
            return f"the disk is full ({words}); free some space, then run again"
        if number in _NOT_WRITABLE or any(word in words for word in _NOT_WRITABLE_WORDS):
            return f"a file or folder cannot be written ({words}); fix its owner or mode, then run again"
        if any(word in words for word in _LOCKED_WORDS):
            return (
                f"another process holds a database of this folder ({words.splitlines()[0]}); `fuser -v "
                "mlflow.db data/verdicts.sqlite` names it: end it, or wait for it, then run again"
            )
        if any(word in words for word in _AWAY_WORDS):
            return f"a server cannot be reached ({words}); start it, or correct its address, then run again"
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from or while handling, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


@contextmanager
def exclusive_lock(file: Path, wait_s: float = MOMENT_S) -> Iterator[None]:
    """Holds `file` locked, so that no other command that changes models works in this folder meanwhile.

    The kernel frees the lock when this process ends, however it ends. Where another process holds it, that
    is said after a moment, and UnavailableError is raised after `wait_s` seconds. In a block that holds it
    already, it is held.
    """
    if os.environ.get(LOCK_VARIABLE) == str(file.resolve()):
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as locked:
        _lock(locked.fileno(), file, wait_s)
        locked.truncate(0)
        locked.write(str(os.getpid()))
        locked.flush()
        os.environ[LOCK_VARIABLE] = str(file.resolve())
        try:
            yield
        finally:
            del os.environ[LOCK_VARIABLE]


def _lock(descriptor: int, file: Path, wait_s: float) -> None:
    from tutee_grader.errors import UnavailableError

    started, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.monotonic() - started
            held = (
                f"{file}: process {file.read_text()} is at work here (a retrain, a promotion, a rollback, a "
                "schedule)"
            )
            if waited >= wait_s:
                raise UnavailableError(f"{held}; wait until it ends") from None
            if waited >= MOMENT_S and not told:
                print(f"{held}; this one waits until it ends", file=sys.stderr, flush=True)
                told = True
            time.sleep(0.1)
        else:
            return


def exit_with_parent() -> None:
    """In a process that a retrain started: ends this process as soon as the retrain has ended.

    Without this, a stage would go on after `kill -9` of its retrain and write into the files of the next.
    """
    if file := os.environ.get(LOCK_VARIABLE):
        threading.Thread(target=_exit_when_free, args=(file,), daemon=True).start()


def _exit_when_free(file: str) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    os._exit(1)

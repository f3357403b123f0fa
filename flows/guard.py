"""One retrain at a time in a folder, and nothing left at work when one is killed."""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tutee_grader.errors import UnavailableError

VARIABLE = "TUTEE_RETRAIN"


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Holds `file` locked, so that no other retrain works in this folder meanwhile.

    The kernel frees the lock when this process ends, however it ends. Raises UnavailableError where
    another process holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as held:
        _lock(held.fileno(), file)
        held.truncate(0)
        held.write(str(os.getpid()))
        held.flush()
        os.environ[VARIABLE] = str(file.resolve())
        try:
            yield
        finally:
            del os.environ[VARIABLE]


def _lock(descriptor: int, file: Path) -> None:
    # What a killed retrain left at work holds the lock for the moment it takes to end.
    patience = time.monotonic() + 2
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < patience:
                time.sleep(0.1)
                continue
            raise UnavailableError(
                f"{file}: another retrain (process {file.read_text()}) is at work here; wait for its end"
            ) from None
        else:
            return


def end_with_retrain() -> None:
    """In a process that a retrain started: ends this process at the moment that one is no more.

    Without this, a stage would go on after `kill -9` of its retrain and write into the files of the next.
    """
    if file := os.environ.get(VARIABLE):
        threading.Thread(target=_wait_and_end, args=(file,), daemon=True).start()


def _wait_and_end(file: str) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    os._exit(1)

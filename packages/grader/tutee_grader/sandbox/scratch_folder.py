"""A folder outside the sandbox, for a worker to which the kernel gives no file system of its own."""

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from pathlib import Path

from tutee_grader.sandbox.inside import scratch

PREFIX = "tutee-scratch-"
STALE_S = 60.0  # a younger one may be about to be locked
SWEEP_S = 1.0  # how long a new folder takes at most to sweep old ones
SWEEP_MOST = 20_000  # files and folders of an old one that are removed at a time
MAPS_BYTES = 1 << 18  # of /proc/PID/maps; an ordinary program's takes 10,000, 200 threads' 50,000
ENTRY_BYTES = 4096  # that a file takes up besides its contents


class ScratchFolder:
    """A folder for one worker, locked while its caller lives; a new one removes those of killed callers."""

    def __init__(self) -> None:
        # A file system in memory, where files cost next to nothing, where there is one.
        parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
        sweep(parent)
        self.path = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
        self._lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def is_full(self, zygote: int) -> bool:
        """Whether the children of this zygote use more than the limit.

        Looks at no more entries than may be there: there are no folders in it (see zygote.confine).
        """
        left = scratch.BYTES
        with contextlib.suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    left -= ENTRY_BYTES + entry.stat(follow_symlinks=False).st_size
                if left < 0:
                    return True
        return self._mappings(zygote) > scratch.OPEN_FILES

    def _mappings(self, zygote: int) -> int:
        """Mappings of files in it: such a file takes up memory though it be closed and removed.

        Of a child with very many mappings of whatever kind, only the first are read, and count as too many.
        """
        count = 0
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split():
                with Path(f"/proc/{child}/maps").open("rb") as maps:
                    text = maps.read(MAPS_BYTES)
                count += text.count(os.fsencode(self.path))
                count += scratch.OPEN_FILES if len(text) == MAPS_BYTES else 0
        return count

    def remove(self) -> None:
        """Delete the folder and what lies in it."""
        os.close(self._lock)
        with contextlib.suppress(OSError):
            scratch.clean(self.path, SWEEP_MOST)
            Path(self.path).rmdir()


def sweep(parent: str) -> None:
    """Remove the folders of killed callers, whatever they hold, as far as the time allows."""
    began = time.monotonic()
    with contextlib.suppress(OSError):
        for folder in Path(parent).glob(f"{PREFIX}*"):
            if time.monotonic() - began > SWEEP_S:
                return
            _sweep(folder)


def _sweep(folder: Path) -> None:
    with contextlib.suppress(OSError):  # in use, or gone already
        status = folder.lstat()
        is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
        if not is_own or time.time() - status.st_mtime < STALE_S:
            return
        folder.chmod(0o700)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if scratch.clean(str(folder), SWEEP_MOST):
                folder.rmdir()
        finally:
            os.close(lock)

"""One worker: a zygote in its sandbox, seen from the caller's side.

What it does not protect from:
- A hole in the kernel: the sandbox shares the caller's kernel.
- Without bubblewrap, a scratch folder that grows beyond its limit until the pool looks (every 20 ms).
- Other processes of the same user, which can read the scratch folder and end the zygote.
"""

import array
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any, Literal

from tutee_grader.errors import SandboxError, UnavailableError

INSIDE = Path(__file__).parent / "inside"
SCRATCH_BYTES = 16 << 20
START_TIMEOUT_S = 20.0
REPLY_TIMEOUT_S = 20.0
READY = 2  # children forked in advance: one at work, one waiting
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "1",
    "LD_BIND_NOW": "1",  # or every child looks up the library functions that it calls
    "LANG": "C.UTF-8",
}

Role = Literal["student", "comparer", "judge"]


class Worker:
    """Starts a zygote: executes a fresh, small interpreter and never forks this process, which may be large.

    `bubblewrap` is the program's path, or None to do without; `core` the one core to run on, or None for any.
    """

    def __init__(self, role: Role, bubblewrap: str | None, core: int | None = None) -> None:
        self.role = role
        self.bubblewrap = bubblewrap
        self.core = core
        self.scratch = None if bubblewrap else ScratchFolder()
        self.control, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ready: deque[socket.socket] = deque()
        self.protections: dict[str, Any] = {}
        with inner:
            self.process = subprocess.Popen(
                self._command(inner.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(inner.fileno(),),
                env=ENVIRONMENT,
                start_new_session=True,  # Ctrl-C is for the caller; and the whole group can be killed at once
            )

    def _command(self, control: int) -> list[str]:
        python = [os.path.realpath(sys.executable), "-s", "-S", "-P", "-W", "ignore"]
        core = [] if self.core is None else [str(self.core)]
        if self.scratch is not None:
            return [*python, str(INSIDE / "zygote.py"), str(control), self.scratch.path, self.role, *core]
        zygote = [*python, "/inside/zygote.py", str(control), "/scratch", self.role, *core]
        return [str(self.bubblewrap), *_bubblewrap_options(), "--", *zygote]

    def wait_until_ready(self) -> None:
        """Read the zygote's first message; let it fork its first children. Raises UnavailableError."""
        self.control.settimeout(START_TIMEOUT_S)
        try:
            hello = self.control.recv(65536)
        except OSError:
            hello = b""
        if not hello.startswith(b"H"):
            self._kill()
            _, errors = self.process.communicate()
            reason = errors.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it ended silently"]
            raise UnavailableError(f"the sandbox could not be started: {reason[0]}")
        self.control.settimeout(REPLY_TIMEOUT_S)
        self.protections = {"bubblewrap": self.bubblewrap is not None} | json.loads(hello[1:])
        for _ in range(READY):
            self.order(b"F")

    def order(self, command: bytes) -> None:
        """Send a command with the inner end of a new channel; keep the outer end."""
        outer, inner = socket.socketpair()
        try:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [inner.fileno()]))]
            self.control.sendmsg([command], rights)
        except OSError as error:
            outer.close()
            raise SandboxError(f"a sandbox process is gone: {error}") from error
        finally:
            inner.close()
        self.ready.append(outer)

    def wait_until_idle(self) -> None:
        """Wait until the zygote has carried out every command."""
        self.control.send(b"P")
        _, descriptors, _, _ = socket.recv_fds(self.control, 16, 1)
        for descriptor in descriptors:
            os.close(descriptor)

    def close(self) -> None:
        """End everything that belongs to this worker."""
        self.control.close()  # the zygote kills its children and ends
        for channel in self.ready:
            channel.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self._kill()
            self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()
        if self.scratch is not None:
            self.scratch.remove()

    def _kill(self) -> None:
        """The group holds the zygote and its children, in their own process namespace or not."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def scratch_is_full(self) -> bool:
        """Whether the scratch folder is over its limit; in bubblewrap, the file system itself is limited."""
        return self.scratch is not None and _size(self.scratch.path) > SCRATCH_BYTES


class ScratchFolder:
    """A folder for one worker, locked while its caller lives; a new one removes those of killed callers."""

    PREFIX = "tutee-scratch-"
    STALE_S = 60.0  # a younger one may be about to be locked

    def __init__(self) -> None:
        # A file system in memory, where files cost next to nothing, where there is one.
        parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
        for other in Path(parent).glob(f"{self.PREFIX}*"):
            self._sweep(other)
        self.path = tempfile.mkdtemp(prefix=self.PREFIX, dir=parent)
        self._lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def _sweep(self, folder: Path) -> None:
        with contextlib.suppress(OSError):  # in use, another user's, or gone already
            if time.time() - folder.stat().st_mtime >= self.STALE_S:
                lock = os.open(folder, os.O_RDONLY)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
                finally:
                    os.close(lock)

    def remove(self) -> None:
        """Delete the folder."""
        os.close(self._lock)
        with contextlib.suppress(OSError):
            shutil.rmtree(self.path)


def _bubblewrap_options() -> list[str]:
    options = ["--unshare-all", "--hostname", "sandbox", "--cap-drop", "ALL"]
    for path in ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache"):
        options += ["--ro-bind-try", path, path]
    # --dev makes its own small /dev; Landlock leaves of it what is harmless.
    return [
        *options,
        *("--ro-bind", sys.base_prefix, sys.base_prefix),
        *("--ro-bind", str(INSIDE), "/inside"),
        *("--dev", "/dev"),
        *("--size", str(SCRATCH_BYTES), "--tmpfs", "/scratch"),
        *("--remount-ro", "/"),
        *("--chdir", "/scratch"),
    ]


def _size(folder: str) -> int:
    """Bytes used below a folder, a little more for each entry."""
    total = 0
    waiting = [folder]
    while waiting and total <= SCRATCH_BYTES:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    total += 4096 + entry.stat(follow_symlinks=False).st_size
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total

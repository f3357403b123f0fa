"""One worker: a zygote in its sandbox, seen from the caller's side.

What it does not protect from:
- A hole in the kernel: the sandbox shares the caller's kernel.
- Where the kernel refuses a file system for the scratch (`protections["scratch"]` is "folder"), a folder that
  grows beyond its limit until the pool looks (every 20 ms).
- Other processes of the same user, which can read the scratch and end the zygote.
"""

import array
import contextlib
import functools
import json
import marshal
import os
import signal
import socket
import stat
import subprocess
import sys
from collections import deque
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any, Literal, cast

from tutee_grader.errors import SandboxError, UnavailableError
from tutee_grader.sandbox.inside import scratch
from tutee_grader.sandbox.scratch_folder import ScratchFolder

INSIDE = Path(__file__).parent / "inside"
MOUNT_POINT = "/dev/shm"  # there on every machine, so programs see the same path everywhere
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
    Raises UnavailableError where the machine has no process, descriptor or place for it.
    """

    def __init__(self, role: Role, bubblewrap: str | None, core: int | None = None) -> None:
        self.role = role
        self.bubblewrap = bubblewrap
        self.core = core
        self.ready: deque[socket.socket] = deque()
        self.protections: dict[str, Any] = {}
        with contextlib.ExitStack() as undo:
            try:
                self.scratch = None if bubblewrap else ScratchFolder()
                if self.scratch is not None:
                    undo.callback(self.scratch.remove)
                self.control, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                undo.enter_context(self.control)
                self._execute(inner)
            except OSError as error:
                raise UnavailableError(f"the sandbox could not be started: {error}") from error
            undo.pop_all()

    def _execute(self, inner: socket.socket) -> None:
        with inner, os.fdopen(os.memfd_create("modules"), "wb") as modules:
            modules.write(_modules())
            modules.flush()
            self.process = subprocess.Popen(
                self._command(inner.fileno()),
                cwd=self.scratch.path if self.scratch else None,
                stdin=modules,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(inner.fileno(),),
                env=ENVIRONMENT,
                start_new_session=True,  # Ctrl-C is for the caller; and the whole group can be killed at once
            )

    def _command(self, control: int) -> list[str]:
        start = (INSIDE / "start.py").read_text()
        core = [] if self.core is None else [str(self.core)]
        zygote = [os.path.realpath(sys.executable), "-s", "-S", "-P", "-W", "ignore", "-c", start]
        zygote += [str(control), MOUNT_POINT, self.role, *core]
        return (
            zygote
            if self.bubblewrap is None
            else [self.bubblewrap, *_options(self.bubblewrap), "--", *zygote]
        )

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
        self.oldest_child()

    def oldest_child(self) -> int:
        """The process id of the zygote's oldest child, as this side sees it; -1 when it has ended.

        Raises SandboxError where the zygote does not answer.
        """
        try:
            self.control.send(b"P")
            _, (descriptor,), _, _ = socket.recv_fds(self.control, 16, 1)
        except (OSError, ValueError) as error:
            raise SandboxError(f"a sandbox process is gone: {error}") from error
        try:
            text = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
            return int(text.split("Pid:")[1].split()[0])
        finally:
            os.close(descriptor)

    def scratch_path(self) -> str:
        """The scratch as this side sees it, while the worker is idle."""
        inside = MOUNT_POINT if self.scratch is None or self._has_file_system() else self.scratch.path
        return f"/proc/{self.oldest_child()}/root{inside}"

    def _has_file_system(self) -> bool:
        return self.protections.get("scratch") == "tmpfs"

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
        """Whether the scratch is over its limit; where it is a file system, that has the limit."""
        return (
            self.scratch is not None
            and not self._has_file_system()
            and self.scratch.is_full(self.process.pid)
        )


@functools.cache
def _modules() -> bytes:
    """The compiled code of every module of `inside`, by name, marshalled; it names no folder."""
    codes = {}
    for path in INSIDE.glob("*.py"):
        code = SourceFileLoader(path.stem, str(path)).get_code(path.stem)
        codes[path.stem] = _renamed(cast("CodeType", code), path.name)
    return marshal.dumps(codes)


def _renamed(code: CodeType, name: str) -> CodeType:
    """The same code, said to be from a file of this name."""
    constants = [_renamed(one, name) if isinstance(one, CodeType) else one for one in code.co_consts]
    return code.replace(co_filename=name, co_consts=tuple(constants))


def _options(bubblewrap: str) -> list[str]:
    """The options of bubblewrap."""
    options = ["--unshare-all", "--hostname", "sandbox", "--cap-drop", "ALL"]
    if not Path(bubblewrap).stat().st_mode & stat.S_ISUID:
        options += ["--cap-add", "CAP_SYS_ADMIN"]  # for the zygote, which mounts its scratch and drops it
    for path in ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo"):
        options += ["--ro-bind-try", path, path]
    # --dev makes its own small /dev; Landlock leaves of it what is harmless.
    return [
        *options,
        *("--ro-bind", sys.base_prefix, sys.base_prefix),
        *("--dev", "/dev"),
        *("--size", str(scratch.BYTES), "--tmpfs", MOUNT_POINT),
        *("--remount-ro", "/"),
        *("--chdir", MOUNT_POINT),
    ]

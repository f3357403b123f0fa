"""One worker: a zygote in its sandbox, seen from the caller's side."""

import array
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

from tutee_grader.errors import GraderEnvironmentError, SandboxFault

INSIDE = Path(__file__).parent / "inside"
START_TIMEOUT_S = 20.0
REPLY_TIMEOUT_S = 20.0
READY = 2  # children forked ahead: one at work, one waiting


class Worker:
    """Starts a zygote by executing a fresh small interpreter, never by forking this process, however large."""

    def __init__(self, bubblewrap: str | None) -> None:
        self.scratch = tempfile.mkdtemp(prefix="tutee-scratch-")
        self.control, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ready: deque[socket.socket] = deque()
        self.protections: dict[str, Any] = {}
        self.control.settimeout(REPLY_TIMEOUT_S)
        with inner:
            command, environment = self._command(inner.fileno(), bubblewrap)
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(inner.fileno(),),
                env=environment,
                start_new_session=True,  # Ctrl-C is for the caller
            )

    def _command(self, control: int, bubblewrap: str | None) -> tuple[list[str], dict[str, str]]:
        python = os.path.realpath(sys.executable)
        environment = {
            "PYTHONHASHSEED": "0",
            "PYTHONUTF8": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "MALLOC_ARENA_MAX": "1",
            "LANG": "C.UTF-8",
        }
        zygote = [python, "-s", "-S", "-P", "-W", "ignore", str(INSIDE / "zygote.py"), str(control)]
        return [*zygote, self.scratch], environment

    def wait_until_ready(self) -> None:
        """Read the zygote's first message and let it fork its first children. Raises GraderEnvironmentError."""
        self.control.settimeout(START_TIMEOUT_S)
        try:
            hello = self.control.recv(65536)
        except OSError:
            hello = b""
        if not hello.startswith(b"H"):
            self.process.kill()
            _, errors = self.process.communicate()
            reason = errors.decode("utf-8", "replace").strip().splitlines()[-1:] or [
                "it ended without a word"
            ]
            raise GraderEnvironmentError(f"the sandbox could not be started: {reason[0]}")
        self.control.settimeout(REPLY_TIMEOUT_S)
        self.protections = json.loads(hello[1:])
        for _ in range(READY):
            self.send(b"F")

    def send(self, command: bytes) -> None:
        """Send a command with the inner end of a new channel; keep the outer end."""
        outer, inner = socket.socketpair()
        try:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [inner.fileno()]))]
            self.control.sendmsg([command], rights)
        except OSError as error:
            outer.close()
            raise SandboxFault(f"a sandbox process is gone: {error}") from error
        finally:
            inner.close()
        self.ready.append(outer)

    def process_of_oldest(self) -> int:
        """The process id, on this side, of the child at work."""
        try:
            self.control.send(b"P")
            _, descriptors, _, _ = socket.recv_fds(self.control, 16, 1)
            descriptor = descriptors[0]
        except (OSError, IndexError) as error:
            raise SandboxFault(f"a sandbox process is gone: {error}") from error
        try:
            for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines():
                if line.startswith("Pid:"):
                    return int(line[4:])
        finally:
            os.close(descriptor)
        return -1

    def close(self) -> None:
        """End everything that belongs to this worker."""
        self.control.close()  # the zygote kills its children and ends
        for channel in self.ready:
            channel.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()
        with contextlib.suppress(OSError):
            shutil.rmtree(self.scratch)

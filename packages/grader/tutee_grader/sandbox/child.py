"""One child of a worker, seen from the caller's side: what it is sent, what it writes, and its end."""

import array
import contextlib
import os
import signal
import socket
import struct
import time
from pathlib import Path

from tutee_grader.errors import SandboxError
from tutee_grader.sandbox.inside.zygote_messages import CHUNK_BYTES, REAPED, frame
from tutee_grader.sandbox.worker import REPLY_TIMEOUT_S, Worker


class Child:
    """The oldest child of a worker, at work since `began`, by the pool's clock.

    Raises SandboxError where it is gone.
    """

    def __init__(self, worker: Worker, request: bytes, now: float) -> None:
        self.worker = worker
        self.channel = worker.ready.popleft()
        self.buffer = bytearray()
        self.received = 0  # bytes
        self._searched = 0  # bytes of the buffer that hold no end of a line
        self.killed = False
        self._pid: int | None = None
        self.began = now
        self.is_hung_up = False  # as far as it was read
        if not self.send(request):  # no student code has run in it yet
            self.channel.close()
            raise SandboxError("a sandbox process is gone")

    def send(self, message: bytes) -> bool:
        """Send one framed message; whether it could be sent."""
        self.channel.settimeout(REPLY_TIMEOUT_S)
        try:
            self.channel.sendall(frame(message))
        except OSError:
            return False
        self.channel.setblocking(False)
        return True

    def pass_channel(self, other: "Child", patience_s: float) -> bool:
        """Give this child's channel to `other`, which alone talks to it from here on; whether that worked.

        Reads and writes of `other` that take longer than `patience_s` return without data.
        """
        patience = struct.pack("ll", *divmod(int(patience_s * 1_000_000), 1_000_000))
        self.channel.setblocking(True)
        self.channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self.channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [self.channel.fileno()]))]
        try:
            other.channel.sendmsg([frame(b"")], rights)
        except OSError:
            return False
        return True

    def recv_lines(self, most: int, count: int) -> list[bytes]:
        """The whole lines that are there, at most `count` of them, from up to `most` bytes; never waits.

        Further lines stay in the buffer, unread: they cost their bytes and no more.
        """
        buffer = self.buffer
        while len(buffer) <= most:
            try:
                data = self.channel.recv(CHUNK_BYTES)
            except OSError:  # nothing there, or the other end was reset
                break
            if not data:
                self.is_hung_up = True
                break
            self.received += len(data)
            buffer += data
        if buffer.find(b"\n", self._searched) < 0:
            self._searched = len(buffer)
            return []
        self._searched = 0
        *lines, buffer[:] = buffer.split(b"\n", count)
        return [bytes(line) for line in lines]

    def starved_s(self) -> float:
        """Seconds for which it was ready to run and no core was free; they do not count as its own."""
        try:
            return int(Path(f"/proc/{self._process()}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):  # it has ended
            return 0.0

    def cpu_s(self) -> float:
        """CPU seconds of all its threads; 0 where it has ended."""
        if self._process() <= 0:
            return 0.0
        try:
            # clock_getcpuclockid(3), which Python does not offer
            return time.clock_gettime(~self._process() << 3 | 2)
        except OSError:
            return 0.0

    def threads(self) -> int:
        """How many it has; 0 where it has ended."""
        try:
            text = Path(f"/proc/{self._process()}/stat").read_text()
            return int(text.rpartition(")")[2].split()[17])
        except (OSError, IndexError, ValueError):
            return 0

    def kill(self) -> None:
        """End it now; its channel hangs up."""
        if not self.killed:
            self.killed = True
            with contextlib.suppress(ProcessLookupError):
                if self._process() > 0:
                    os.kill(self._process(), signal.SIGKILL)

    def finish(self) -> tuple[int, float, bool]:
        """Kill and reap it: wait status, CPU seconds, and whether it left the worker clean."""
        self.release()
        return self.reaped()

    def release(self) -> None:
        """Hang up and have the zygote kill and reap it; `reaped` then waits for the result."""
        self.channel.close()
        self.worker.order(b"R")

    def reaped(self) -> tuple[int, float, bool]:
        """What `finish` returns; call it after `release`."""
        try:
            reply = self.worker.control.recv(64)
        except OSError as error:
            raise SandboxError(f"a sandbox process does not answer: {error}") from error
        if not reply.startswith(b"R"):
            raise SandboxError("a sandbox process is gone")
        status, cpu_s, is_clean = REAPED.unpack(reply[1:])
        return status, cpu_s, is_clean

    def _process(self) -> int:
        """Its process id on this side, not the one in its own namespace; -1 when it has ended."""
        if self._pid is None:
            self._pid = self.worker.oldest_child()
        return self._pid

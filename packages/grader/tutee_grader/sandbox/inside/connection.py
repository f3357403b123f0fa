"""The judge's connection to the student's process."""

import _socket
import contextlib
import os
from time import monotonic
from typing import NoReturn

import channel as channels
from channel import ProgramEndedError
from zygote_messages import CHUNK_BYTES, PATIENCE_S, frame

MAX_REFUSAL_BYTES = 4096  # of the line that says why a program does not compile


class StudentConnection:
    """The student's process, on a channel that the caller passes and that only the judge uses.

    It measures for how long a question is open: that time, and no other, is the program's. Lines to the
    caller: `w` with the time of the questions that this process has answered, and when the open one began, 0
    where none is, both in microseconds of the monotonic clock, whenever a question is open for long or the
    answers have taken as long together; `o`, the process writes without end; `x`, its answers are none; `r`,
    a request for another process; and the process's own line that says why the program does not compile.
    `max_bytes` is the length of an answer.
    """

    def __init__(self, caller: "_socket.socket", max_bytes: int) -> None:
        self._caller = caller
        self._max_bytes = max_bytes
        self._channel = -1
        self._buffer = bytearray()
        self._is_first = True  # which the caller starts by itself
        self._is_refused = False
        self._opened = 0.0  # when the open question was asked; 0 where none is
        self._waited = 0.0
        self._reported = 0.0  # how much of it the caller knows of
        self._is_slow = False  # and the caller knows it

    def send(self, text: str) -> None:
        """Send a message. Raises ProgramEndedError where the process has ended."""
        if self._channel < 0:
            self._connect()
        self._opened = monotonic()
        data = frame(text.encode())
        while True:
            try:
                data = data[os.write(self._channel, data) :]
            except BlockingIOError:  # the time that the caller set on the channel is over
                self._report_slow()
            except OSError:
                self._raise_ended()
            if not data:
                return

    def receive(self) -> bytes:
        """The next line. Raises ProgramEndedError where the process ends instead."""
        buffer, searched = self._buffer, 0
        while (end := buffer.find(b"\n", searched)) < 0:
            searched = len(buffer)
            if searched > self._max_bytes:
                self._end("o")
            buffer += self._read()
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        self._close_question()
        return line

    def refuse(self) -> NoReturn:
        """What the process wrote is no answer: end it. Raises ProgramEndedError."""
        self._end("x")

    def discard(self) -> None:
        """End the process, which is about to answer a question that nobody waits for any more."""
        if self._channel >= 0:
            with contextlib.suppress(ProgramEndedError):
                self._end("x")

    def _read(self) -> bytes:
        try:
            data = os.read(self._channel, CHUNK_BYTES)
        except BlockingIOError:
            data = b""
        except OSError:
            self._raise_ended()
        else:
            if not data:
                self._raise_ended()
        if monotonic() - self._opened >= PATIENCE_S:  # also where it dribbles its answer
            self._report_slow()
        return data

    def _connect(self) -> None:
        """Take the channel of a process and read whether the program compiles."""
        if self._is_refused:
            raise ProgramEndedError("does not compile")
        if not self._is_first:
            self._report("r")
        self._is_first = False
        self._waited = self._reported = 0.0
        message, self._channel = channels.receive_with_descriptor(self._caller)
        if self._channel < 0:
            raise ProgramEndedError(message.decode())
        self._opened = monotonic()
        line = self.receive()
        if not line.startswith(b'["c"'):
            self._is_refused = True
            self._report(line.decode("ascii") if len(line) <= MAX_REFUSAL_BYTES else '["n"]')
            self._raise_ended()

    def _end(self, reason: str) -> NoReturn:
        self._report(reason)
        self._raise_ended()

    def _raise_ended(self) -> NoReturn:
        """The process has ended, or is about to: raises ProgramEndedError with the caller's reason."""
        os.close(self._channel)
        self._channel = -1
        self._buffer.clear()
        self._close_question()
        message, _ = channels.receive_with_descriptor(self._caller)
        raise ProgramEndedError("does not compile" if self._is_refused else message.decode())

    def _close_question(self) -> None:
        if self._opened:
            self._waited += monotonic() - self._opened
            self._opened = 0.0
        if self._is_slow or self._waited - self._reported >= PATIENCE_S:
            self._is_slow = False
            self._report_time()

    def _report_slow(self) -> None:
        if not self._is_slow:
            self._is_slow = True
            self._report_time()

    def _report_time(self) -> None:
        self._reported = self._waited
        self._report(f"w{int(self._waited * 1e6)} {int(self._opened * 1e6)}")

    def _report(self, line: str) -> None:
        channels.write(self._caller.fileno(), line)

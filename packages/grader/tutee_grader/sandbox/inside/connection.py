"""The judge's connection to the student's process."""

import _socket
import os
from typing import NoReturn

import channel as channels
from channel import ProgramEndedError
from zygote_messages import CHUNK_BYTES, MAX_ANSWER_BYTES, frame


class StudentConnection:
    """The student's process, on a channel that the caller passes and that only the judge uses.

    Lines to the caller about it: `s`, an answer is slow, so its time must be limited; `f`, that answer is
    there; `o`, it writes without end; `r`, a request for another process; and the process's own line that
    says why the program does not compile.
    """

    def __init__(self, caller: "_socket.socket") -> None:
        self._caller = caller
        self._channel = -1
        self._buffer = bytearray()
        self._is_first = True  # which the caller starts by itself
        self._is_slow = False
        self._is_refused = False

    def send(self, text: str) -> None:
        """Send a message. Raises ProgramEndedError where the process has ended."""
        if self._channel < 0:
            self._connect()
        data = frame(text.encode())
        while True:
            try:
                data = data[os.write(self._channel, data) :]
            except BlockingIOError:
                pass
            except OSError:
                self._raise_ended()
            if not data:
                return
            self._report_slow()

    def receive(self) -> bytes:
        """The next line. Raises ProgramEndedError where the process ends instead."""
        buffer, searched, is_late = self._buffer, 0, False
        while (end := buffer.find(b"\n", searched)) < 0:
            searched = len(buffer)
            if searched > MAX_ANSWER_BYTES:
                self._report("o")
                self._raise_ended()
            if is_late:
                self._report_slow()
            is_late = True
            buffer += self._read()
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        if self._is_slow:
            self._is_slow = False
            self._report("f")
        return line

    def _read(self) -> bytes:
        try:
            data = os.read(self._channel, CHUNK_BYTES)
        except BlockingIOError:  # the time limit that the caller set on the channel is over
            return b""
        except OSError:
            data = b""
        if not data:
            self._raise_ended()
        return data

    def _connect(self) -> None:
        """Take the channel of a process and read whether the program compiles."""
        if self._is_refused:
            raise ProgramEndedError("does not compile")
        if not self._is_first:
            self._report("r")
        self._is_first = False
        message, self._channel = channels.receive_with_descriptor(self._caller)
        if self._channel < 0:
            raise ProgramEndedError(message.decode())
        line = self.receive()
        if not line.startswith(b'["c"'):
            self._is_refused = True
            self._report(line.decode())
            self._raise_ended()

    def _raise_ended(self) -> NoReturn:
        """The process has ended, or is about to: raises ProgramEndedError with the caller's reason."""
        os.close(self._channel)
        self._channel = -1
        self._buffer.clear()
        self._is_slow = False
        message, _ = channels.receive_with_descriptor(self._caller)
        raise ProgramEndedError("does not compile" if self._is_refused else message.decode())

    def _report_slow(self) -> None:
        if not self._is_slow:
            self._is_slow = True
            self._report("s")

    def _report(self, line: str) -> None:
        channels.write(self._caller.fileno(), line)

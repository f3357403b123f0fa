"""The channel of a sandboxed process: it reads framed messages and writes lines."""

import os


class ProgramEndedError(Exception):
    """The student's program did not answer a judge; the text says why, in the words of a test's outcome."""


_read, _write = os.read, os.write  # student code may replace them


def receive(channel: int) -> bytes:
    """The next message: its length in four bytes, then itself. Ends the process when the caller hangs up."""
    return _exactly(channel, int.from_bytes(_exactly(channel, 4), "little"))


def _exactly(channel: int, size: int) -> bytes:
    parts = []
    while size:
        data = _read(channel, size)
        if not data:
            os._exit(0)
        parts.append(data)
        size -= len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write(channel: int, line: str) -> None:
    """Write one line."""
    data = line.encode("ascii") + b"\n"
    while data:
        data = data[_write(channel, data) :]

"""The channel of a sandboxed process: it reads framed messages and writes lines."""

import _socket
import os
import struct

DESCRIPTOR = struct.Struct("i")
_SPACE = _socket.CMSG_SPACE(DESCRIPTOR.size)


class ProgramEndedError(Exception):
    """The student's program did not answer a judge; the text says why, in the words of a test's outcome."""


_read, _write = os.read, os.write  # student code may replace them


def receive(channel: int) -> bytes:
    """The next message: its length in four bytes, then itself. Ends the process when the caller hangs up."""
    return _exactly(channel, int.from_bytes(_exactly(channel, 4), "little"))


def receive_with_descriptor(channel: "_socket.socket") -> tuple[bytes, int]:
    """The next message, and the descriptor that came with it; -1 where there is none."""
    size, ancillary, _, _ = channel.recvmsg(4, _SPACE)
    if not size:
        os._exit(0)
    (descriptor,) = DESCRIPTOR.unpack(ancillary[0][2]) if ancillary else (-1,)
    return _exactly(channel.fileno(), int.from_bytes(size, "little")), descriptor


def _exactly(channel: int, size: int) -> bytes:
    data = _read(channel, size)
    while len(data) < size:
        more = _read(channel, size - len(data))
        if not more:
            os._exit(0)
        data += more
    return data


def write(channel: int, line: str) -> None:
    """Write one line."""
    data = line.encode("ascii") + b"\n"
    while data:
        data = data[_write(channel, data) :]

"""What both sides of the sandbox must agree on."""

import struct

COMPARE = "__compare__"  # the name by which an instructor's bare asserts call the judge's comparison
REAPED = struct.Struct("=id?")  # wait status, CPU seconds, whether the scratch folder is clean
MAX_ANSWER_BYTES = 16 << 20  # what a student's process may write before it is ended
CHUNK_BYTES = 16384  # of one reading of a channel; a much larger one would be mapped anew each time


def frame(message: bytes) -> bytes:
    """A message as it goes into a sandboxed process: its length in four bytes, then itself."""
    return len(message).to_bytes(4, "little") + message

"""What both sides of the sandbox must agree on."""

import struct

COMPARE = "__compare__"  # name of the function that an instructor's bare asserts are rewritten to call
CAUGHT = "__caught__"  # and of the one that handlers of any exception are rewritten to call first
PYTEST_NAMES = ("approx", "mark", "raises")  # what there is of pytest, in pytest_stub.py
PYTEST_MARKS = ("parametrize",)
REAPED = struct.Struct("=id?")  # wait status, CPU seconds, whether the scratch folder is clean
MAX_ANSWER_BYTES = 16 << 20  # output of a student's process at which it is ended
PATIENCE_S = 0.02  # the judge reports what it waited for the student's process in portions of at least this
CHUNK_BYTES = 16384  # of one reading of a channel; a much larger one would be mapped anew each time


def frame(message: bytes) -> bytes:
    """A message as it goes into a sandboxed process: its length in four bytes, then itself."""
    return len(message).to_bytes(4, "little") + message

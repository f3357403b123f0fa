"""What both sides of the sandbox must agree on."""

import struct

COMPARE = "__compare__"  # the name by which an instructor's bare asserts call the judge's comparison
REAPED = struct.Struct("=id?")  # wait status, CPU seconds, whether the scratch folder is clean
MAX_ANSWER_BYTES = 16 << 20  # what a student's process may write before it is ended

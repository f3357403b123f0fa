"""What both sides of the sandbox must agree on."""

import struct

COMPARE = "__compare__"  # the name by which an instructor's bare asserts call the judge's comparison
REAPED = struct.Struct("=id?")  # wait status, CPU seconds, whether the scratch folder is clean

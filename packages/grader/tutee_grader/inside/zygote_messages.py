"""What a zygote says to its caller, in bytes."""

import struct

REAPED = struct.Struct("=id?")  # wait status, CPU seconds, whether the scratch folder is clean

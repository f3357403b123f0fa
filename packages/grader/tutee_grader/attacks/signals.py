"""Send a signal to another process, by the ways that remain without kill.

An attack wins where the kernel takes the order. The signals ordered would do no harm, but for those to the
parent, which the harness would miss.
"""

from tutee_grader.attacks.attack import SYSCALL, Attack
from tutee_grader.verdict import Outcome

_TARGETS = """
import os
# The parent, its group, a sibling, the parent's parent or something near it.
targets = [os.getppid(), -os.getppid(), os.getpid() + 1, os.getpid() - 1, os.getppid() - 1, 1]
def call(number, *arguments):
    return libc.syscall(number, *[ctypes.c_long(one) if isinstance(one, int) else one for one in arguments])
"""


def _orders(name: str, body: str) -> Attack:
    """An attack whose `answer` returns the secret where one of its calls succeeds."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    program = f"{SYSCALL}{_TARGETS}\ndef answer(*_):\n{lines}\n"
    return Attack(name, program, outcome=Outcome.FAILED)


# The numbers are those of x86-64: 16 ioctl, 44 sendto, 53 socketpair, 56 clone, 72 fcntl, 202 futex, ...
SIGNALS = (
    Attack("kill the parent by a pipe's owner", "import fcntl, os\ndef answer(*_):\n    reader, writer = os.pipe()\n    fcntl.fcntl(reader, fcntl.F_SETOWN, os.getppid())\n    fcntl.fcntl(reader, fcntl.F_SETSIG, 9)\n    fcntl.fcntl(reader, fcntl.F_SETFL, fcntl.fcntl(reader, fcntl.F_GETFL) | os.O_ASYNC)\n    os.write(writer, b'x')\n    return '@SECRET@'", outcome=Outcome.ERROR),
    Attack("kill the parent by its own descriptors", "import fcntl, os\ndef answer(*_):\n    for fd in range(64):\n        for order in ((fcntl.F_SETSIG, 9), (fcntl.F_SETOWN, os.getppid()), (fcntl.F_SETFL, os.O_ASYNC)):\n            try: fcntl.fcntl(fd, *order)\n            except OSError: pass\n            else: return '@SECRET@'", outcome=Outcome.FAILED),
    _orders("own a pipe's signals by another process", "reader, writer = os.pipe()\nif any(call(72, reader, 8, target) == 0 for target in targets):\n    return '@SECRET@'"),
    _orders("own a pipe's signals by another thread", "reader, writer = os.pipe()\nfor kind in (0, 1, 2):\n    for target in targets:\n        if call(72, reader, 15, (ctypes.c_int * 2)(kind, target)) == 0:\n            return '@SECRET@'"),
    _orders("own a pipe's signals by a large number", "reader, writer = os.pipe()\nfor target in targets:\n    if 0 in (call(72, reader, 1 << 32 | 8, target), call(72, reader, -1 << 32 | 8, target)):\n        return '@SECRET@'"),
    _orders("own a socket's signals by ioctl", "pair = (ctypes.c_int * 2)()\ncall(53, 1, 1, 0, pair)\nfor target in targets:\n    for request in (0x8901, 0x8902, 1 << 32 | 0x8901):\n        if call(16, pair[0], request, ctypes.byref(ctypes.c_int(target))) == 0:\n            return '@SECRET@'"),
    _orders("choose a pipe's signal", "reader, writer = os.pipe()\nif 0 in (call(72, reader, 10, 9), call(72, writer, 10, 23)):\n    return '@SECRET@'"),
    _orders("ask for signals by a flag", "reader, writer = os.pipe()\nif 0 in (call(72, reader, 4, 0o20000), call(72, reader, 4, 0o24000), call(16, reader, 0x5452, ctypes.byref(ctypes.c_int(1)))):\n    return '@SECRET@'"),
    _orders("open for signals", "for path in ('.', '/dev/null', 'new'):\n    for flags in (0o20000, 0o20100 | os.O_RDWR):\n        try:\n            os.open(path, flags)\n            return '@SECRET@'\n        except OSError:\n            pass"),
    _orders("take a lease on a file", "file = os.open('leased', os.O_RDONLY | os.O_CREAT)\nif 0 in [call(72, file, 1024, kind) for kind in (0, 1)]:\n    return '@SECRET@'"),
    _orders("have a folder's changes signalled", "folder = os.open('.', os.O_RDONLY)\nif call(72, folder, 1026, 0x8000003f) == 0:\n    return '@SECRET@'"),
    _orders("send urgent data", "pair = (ctypes.c_int * 2)()\ncall(53, 1, 1, 0, pair)\nif any(call(44, fd, b'x', 1, 1 | more, 0, 0) == 1 for fd in (*pair, *range(3, 64)) for more in (0, 0x40, 0x4000)):\n    return '@SECRET@'"),
    _orders("send to a named socket", "pair = (ctypes.c_int * 2)()\nname = b'\\x01\\0\\0@ABSTRACT@'\nif any(call(53, *kind, pair) == 0 for kind in ((1, 2, 0), (1, 5, 0), (2, 1, 0), (16, 3, 0))):\n    return '@SECRET@'\ncall(53, 1, 1, 0, pair)\nif call(44, pair[0], b'x', 1, 0, name, len(name)) == 1:\n    return '@SECRET@'"),
    _orders("make a child with a signal at its end", "for flags in (9, 0x4111, 0x8009, 0x8000 | 17, 0x10000, 0x10900, 0x3d0f09, 0x3d1f00, 0x3d8f00, 1 << 32 | 0x3d0f00, 1 << 33 | 0x3d0f00, 0x3d0f00 | 1 << 31, 0x10000000 | 17, 0x20000000):\n    if call(56, flags, 0, 0, 0, 0) >= 0:\n        return '@SECRET@'"),
    _orders("a timer that signals another thread", "event = (ctypes.c_int * 16)(0, 0, 9, 4, os.getppid())\nif call(222, 0, event, ctypes.byref(ctypes.c_int())) == 0 or call(244, 0, event) == 0:\n    return '@SECRET@'"),
    _orders("queue a signal", "info = (ctypes.c_int * 32)(23, 0, -1)\nfor target in targets:\n    if 0 in (call(129, target, 23, info), call(297, target, target, 23, info), call(200, target, 23)):\n        return '@SECRET@'"),
    _orders("signal by a process descriptor", "for target in targets:\n    fd = call(434, target, 0)\n    if fd >= 0 or call(424, 3, 23, 0, 0) == 0:\n        return '@SECRET@'"),
    _orders("outlive the parent", "if call(157, 1, 0, 0, 0, 0) == 0 or call(157, 36, 1, 0, 0, 0) == 0:\n    return '@SECRET@'"),
    _orders("lend its priority to another thread", "for operation in (6, 7, 8, 11, 12, 13, 0x88, 0x188):\n    if call(202, ctypes.byref(ctypes.c_uint(0)), operation, 0, 0, 0, 0) == 0:\n        return '@SECRET@'"),
    _orders("ask for another's limits and cores", "for target in filter(lambda target: target > 0, targets):\n    found = (ctypes.c_ulong * 16)()\n    if call(302, target, 0, 0, found) == 0 or call(204, target, 128, found) > 0 or call(144, target, 0, found) == 0:\n        return '@SECRET@'"),
    _orders("read the clock of another process", "for target in filter(lambda target: target > 0, targets):\n    for kind in range(8):\n        if call(228, ~target << 3 | kind, (ctypes.c_long * 2)()) == 0:\n            return '@SECRET@'"),
)  # fmt: skip

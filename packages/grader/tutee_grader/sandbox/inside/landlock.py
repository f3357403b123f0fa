"""Landlock (kernel 5.13 on): which files a process may touch. Inherited by children, never taken off again.

What it does not protect from:
- Reading below `readable` (Python's library), and names, sizes and dates of files elsewhere.
- TCP before its version 4, signals and abstract Unix sockets before its version 6. The seccomp filter refuses
  them on its own: it lets through no call that connects a socket or sends a signal to another process.

Sources: the kernel's userspace-api/landlock.rst and linux/landlock.h.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable

from confinement import no_new_privileges, system_call

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_ALL_OF_ABI_1 = (1 << 13) - 1
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
# Everything needed in a scratch folder except making devices, sockets, pipes and links.
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_SCRATCH = _WRITE_FILE | _READ_FILE | _READ_DIR | _REMOVE_FILE | _MAKE_REG | _REFER | _TRUNCATE
_FOLDERS = _MAKE_DIR | _REMOVE_DIR
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE


def version() -> int:
    """The kernel's Landlock version, 0 where there is none."""
    try:
        return system_call(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    except OSError:
        return 0


def restrict(
    readable: Iterable[str], listable: Iterable[str], files: Iterable[str], scratch: str, makes_folders: bool
) -> int:
    """Confine this process for good: read below `readable`, list `listable`, use `files`, write in `scratch`.

    `makes_folders`: folders may be made in the scratch. Returns the Landlock version used. Raises OSError
    where the kernel has none.
    """
    known = version()
    if known < 1:
        raise OSError(errno.ENOSYS, "the kernel has no Landlock")
    handled = _ALL_OF_ABI_1
    handled |= _REFER if known >= 2 else 0
    handled |= _TRUNCATE if known >= 3 else 0
    handled |= _IOCTL_DEV if known >= 5 else 0
    network = 3 if known >= 4 else 0  # TCP bind and connect
    scoped = 3 if known >= 6 else 0  # abstract Unix sockets and signals to processes outside
    attributes = struct.pack("QQQ", handled, network, scoped)
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    ruleset = system_call(_CREATE_RULESET, attributes[:size], ctypes.c_size_t(size), 0)
    try:
        for path in readable:
            _allow(ruleset, path, (_READ_FILE | _READ_DIR | _EXECUTE) & handled)
        for path in listable:
            _allow(ruleset, path, _READ_DIR)
        for path in files:
            _allow(ruleset, path, (_READ_FILE | _WRITE_FILE) & handled)
        _allow(ruleset, scratch, (_SCRATCH | (_FOLDERS if makes_folders else 0)) & handled)
        no_new_privileges()
        system_call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return known


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, folder)
        system_call(_ADD_RULE, ruleset, 1, rule, 0)
    finally:
        os.close(folder)

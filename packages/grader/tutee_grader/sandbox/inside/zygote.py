"""The warm interpreter: started once in the sandbox, it forks a fresh student's process for every program.

    python -s -S -P -c START CONTROL_FD MOUNT_POINT student|comparer|judge [CORE]

START is the text of start.py. The scratch is a small file system, mounted at MOUNT_POINT for this sandbox
alone; where the kernel refuses that, it is the folder in which the zygote is started.

It never sees a program: each child reads its program from a channel of its own, so the memory that the next
child inherits holds nothing of the one before. Control messages, one datagram each:
    caller -> zygote   b"F" with a descriptor: fork a child that serves this channel
                       b"R" with a descriptor: kill and reap the oldest child, clean the scratch, then fork
                       b"P": asks for a process descriptor of the oldest child
    zygote -> caller   b"H" + JSON: what is in force; b"R" + REAPED; b"P" with a descriptor

What it does not protect from:
- A child that takes its full limits: memory, CPU time and output are limited, not forbidden.
- Reading Python's own library, which every child needs.
- With Landlock alone, finding out names, sizes and dates of files outside (not their contents); with
  bubblewrap those files are not there.
"""

import _socket
import builtins
import fcntl
import gc
import json
import os
import sys
import types
from collections.abc import Callable

# Modules that want to know of a fork would make every child slower, and `random` would reseed; no child
# of a zygote forks again, and all are to get the same numbers.
os.register_at_fork = lambda **_: None

# What beginners import, loaded once here instead of once per program.
import collections  # noqa: F401
import copy  # noqa: F401
import functools  # noqa: F401
import itertools  # noqa: F401
import math  # noqa: F401
import re  # noqa: F401
import string  # noqa: F401
import time  # noqa: F401

import confinement
import landlock
import mounts
import scratch
import streams
import student
import warm_up
from channel import DESCRIPTOR
from zygote_messages import REAPED

# The streams that Python opened: to drop them, as every child would, takes an eighth of its time.
_kept: list[object] = [sys.stdin, sys.stdout, sys.stderr]


def role_module(role: str) -> types.ModuleType:
    """The module that serves this role, loaded with what it will need."""
    if role == "student":
        return student
    if role == "comparer":
        import comparer

        return comparer
    import unittest.mock  # noqa: F401

    import judge
    import pytest_stub

    sys.modules["pytest"] = pytest_stub.module()
    return judge


def prepare() -> None:
    """Adds what a plain interpreter offers and one started without `site` lacks."""

    def leave(code: object = None) -> None:
        raise SystemExit(code)

    builtins.exit = builtins.quit = leave  # type: ignore[assignment]
    sys.modules["turtle"] = Turtle("turtle")
    sys.argv = ["program.py"]


class Turtle(types.ModuleType):
    """A turtle without a screen: every call is accepted and draws nothing."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments, **options: self


def confine(mount_point: str) -> dict[str, object]:
    """Make the scratch the current folder, give up what grading does not need; returns what is in force."""
    active: dict[str, object] = {}
    file_bytes = scratch.FILE_BYTES
    try:
        mounts.mount_scratch(mount_point)
        os.chdir(mount_point)
    except OSError as error:
        active["scratch error"] = str(error)
    sizes = os.statvfs(".")
    is_limited = sizes.f_blocks * sizes.f_frsize <= scratch.BYTES  # bubblewrap may have made it so
    active["scratch"] = "tmpfs" if is_limited else "folder"
    if not is_limited:
        file_bytes = scratch.BYTES // scratch.OPEN_FILES  # those that are removed while open can't be counted
    confinement.no_new_privileges()
    active["no new privileges"] = True
    confinement.drop_capabilities()
    active["no capabilities"] = True
    confinement.limit_process(file_bytes, scratch.OPEN_FILES)
    active["limits"] = True
    library = os.path.dirname(os.__file__)
    try:
        # In a plain folder there are files only: to count what lies in folders takes too long.
        active["landlock version"] = landlock.restrict(
            _readable(library), [library], ["/dev/null"], ".", makes_folders=is_limited
        )
        active["landlock"] = _refused(lambda: os.listdir("/")) and _refused(
            lambda: os.open("/etc/passwd", os.O_RDONLY)
        )
    except OSError as error:
        active["landlock"] = False
        active["landlock error"] = str(error)
    return active


def _readable(library: str) -> list[str]:
    """Python's library, what its extension modules are linked against, and the time zones."""
    paths = [
        os.path.join(library, name) for name in os.listdir(library) if name not in ("site-packages", "test")
    ]
    paths += ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo"]
    paths.append(os.path.join(sys.base_prefix, "lib"))
    above = os.path.dirname(os.path.realpath(library))
    # By what they are: Landlock knows folders, and /lib can be /usr/lib by a link or by a mount.
    others = [path for path in paths if os.path.exists(path) and not os.path.samefile(path, above)]
    if len(others) < len(paths):  # beside Python's library lie packages, which are not for programs
        others += [os.path.join(above, name) for name in os.listdir(above) if not name.startswith("python")]
    return others


def check_seccomp(seccomp: confinement.SeccompFilter) -> bool:
    """Whether a process under the filter really is refused a socket and a child."""
    child = os.fork()
    if child == 0:
        try:
            seccomp.install()
            good = _refused(_socket.socket) and _refused(os.fork)
            os._exit(0 if good else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def _refused(attempt: object) -> bool:
    try:
        attempt()  # type: ignore[operator]
    except OSError:
        return True
    return False


def freeze_memory() -> None:
    """Before the first fork: keeps children from writing to the memory that they share with the zygote."""
    gc.collect()
    _kept.extend(warm_up.fill_free_blocks())
    gc.freeze()


def serve(control: "_socket.socket", serve_child: Callable[[int], None]) -> None:
    """Fork and reap as the caller commands, until it hangs up."""
    children: list[int] = []
    space = _socket.CMSG_SPACE(DESCRIPTOR.size)
    try:
        while True:
            message, ancillary, _, _ = control.recvmsg(16, space)
            if not message:
                return
            if message == b"R":
                control.send(b"R" + reap(children.pop(0)))
            elif message == b"P":
                descriptor = os.pidfd_open(children[0])
                rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, DESCRIPTOR.pack(descriptor))]
                control.sendmsg([b"P"], rights)
                os.close(descriptor)
            if ancillary:
                (channel,) = DESCRIPTOR.unpack(ancillary[0][2])
                child = os.fork()
                if child == 0:
                    try:
                        os.close(control.fileno())
                        serve_child(channel)
                    finally:
                        os._exit(1)
                os.close(channel)
                children.append(child)
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)


def reap(child: int) -> bytes:
    """End and reap a child and clean the scratch folder: REAPED, packed."""
    found, status, usage = os.wait4(child, os.WNOHANG)
    if not found:  # it is about to end, or it has closed its channel and lives on
        os.kill(child, 9)
        _, status, usage = os.wait4(child, 0)
        if status == 9:
            status = 0
    for descriptor in (0, 1):  # which children share with this process
        fcntl.fcntl(descriptor, fcntl.F_SETFL, 0)
    return REAPED.pack(status, usage.ru_utime + usage.ru_stime, scratch.clean("."))


def main() -> None:
    descriptor, mount_point, role_name, *core = sys.argv[1:]
    control = _socket.socket(fileno=int(descriptor))
    role = role_module(role_name)
    if core:
        os.sched_setaffinity(0, {int(core[0])})
    sys.meta_path.pop(0)  # start.Modules: all modules that are needed are there
    prepare()
    active = confine(mount_point)
    seccomp = None
    try:
        seccomp = confinement.SeccompFilter(receives=role_name == "judge")
        active["seccomp"] = check_seccomp(seccomp)
    except OSError as error:
        active["seccomp"] = False
        active["seccomp error"] = str(error)
    control.send(b"H" + json.dumps(active).encode())
    os.dup2(1, 2)  # from here on nothing may write to the caller's terminal
    warm_up.warm_up(role)
    if role is student:
        streams.preallocate_streams()
    freeze_memory()
    serve(control, lambda channel: role.serve(channel, seccomp))

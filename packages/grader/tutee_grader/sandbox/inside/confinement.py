"""What a sandboxed process gives up, by raw system calls: no package, no header, no configuration.

The zygote gives up its privileges and takes the limits that are the same for every program; its children add
a seccomp filter (system_calls.py has the list) and the limits of their program. All of it is inherited by
children and can never be taken back.
What it does not protect from:
- A hole in the kernel, or side channels of the hardware.
- On aarch64, mistakes in the filter that only a program run there would show.
"""

import ctypes
import os
import resource
import struct

import system_calls

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
# Called by every new process: without errno and conversions by type it is several times as fast.
_prctl, _setrlimit = ctypes.PyDLL(None).prctl, ctypes.PyDLL(None).setrlimit
_soft_and_hard = (ctypes.c_ulong * 2)()  # struct rlimit

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 38, 22
_SIGKILL = 9
_SECCOMP_MODE_FILTER = 2
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION = 0x20080522


def system_call(number: int, *arguments: object) -> int:
    """Make a system call. Raises OSError where it fails."""
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")
    return result


def no_new_privileges() -> None:
    """No program run from here on can gain privileges. Landlock and seccomp demand it."""
    _done(_prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def drop_capabilities() -> None:
    """Root without capabilities: still the owner of its files, no longer above the rules."""
    system_call(
        _CAPSET[os.uname().machine],
        struct.pack("Ii", _CAPABILITY_VERSION, 0),
        struct.pack("6I", 0, 0, 0, 0, 0, 0),
    )


def die_with_parent() -> None:
    """Kill this process when its parent ends; right where that has one thread, whose end is what counts."""
    _done(_prctl(_PR_SET_PDEATHSIG, _SIGKILL))


def limit_process(file_bytes: int, open_files: int) -> None:
    """The limits that are the same for every program; memory and CPU time come with each."""
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))  # core(5): with 0, a dump would still go into a pipe
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    stack = 8 << 20
    resource.setrlimit(resource.RLIMIT_STACK, (stack, stack))


def limit_program(memory_bytes: int, cpu_s: int) -> None:
    """Address space and CPU time of one program."""
    for limit, value in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CPU, cpu_s)):
        _soft_and_hard[:] = [value, value]
        _done(_setrlimit(limit, _soft_and_hard))


class SeccompFilter:
    """A filter of system calls, built once; to install it takes a new process one system call.

    Arguments and errors as for `system_calls.filter_program`.
    """

    def __init__(self, receives: bool = False) -> None:
        program = system_calls.filter_program(receives)
        self._instructions = ctypes.create_string_buffer(program, len(program))
        # struct sock_fprog: a count, padding, a pointer
        self._program = ctypes.create_string_buffer(
            struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(self._instructions)), 16
        )
        self._pointer = ctypes.c_void_p(ctypes.addressof(self._program))

    def install(self) -> None:
        """Confine this process to the allowed calls. no_new_privileges must have been called."""
        _done(_prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, self._pointer))


def _done(result: int) -> None:
    if result != 0:
        raise OSError("a call that confines this process was refused")

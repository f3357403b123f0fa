"""Landlock, seccomp, limits and privileges, by raw system calls: no package, no header, no configuration.

Landlock (kernel 5.13 on) restricts which files a process may touch, seccomp which system calls it may make.
Both are inherited by children and can never be taken off again.
What they do not protect from:
- A hole in the kernel, or side channels of the hardware.
- Reading below `readable` (Python's library), and names, sizes and dates of files elsewhere.
- TCP and signals before Landlock's versions 4 and 6; there the seccomp filter alone refuses them.
- On aarch64, errors in the filter's call numbers, which are untested.

Sources: the kernel's userspace-api/landlock.rst and userspace-api/seccomp_filter.rst, and linux/*.h.
"""

import ctypes
import errno
import os
import resource
import struct
from collections.abc import Iterable

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
# Called by every new process: without errno and conversions by type it is several times as fast.
_prctl, _setrlimit = ctypes.PyDLL(None).prctl, ctypes.PyDLL(None).setrlimit
_soft_and_hard = (ctypes.c_ulong * 2)()  # struct rlimit

MACHINE = os.uname().machine

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 1, 38, 22
SIGKILL = 9
SECCOMP_MODE_FILTER = 2

# --- Landlock -------------------------------------------------------------------------------------------------------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_ALL_OF_ABI_1 = (1 << 13) - 1
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
# Everything needed in a scratch folder except making devices, sockets, pipes and links.
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_SCRATCH = _WRITE_FILE | _READ_FILE | _READ_DIR | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE


def landlock_version() -> int:
    """The kernel's Landlock version, 0 where there is none."""
    return max(0, _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1))


def landlock(
    readable: Iterable[str], listable: Iterable[str], scratch: str, files: Iterable[str] = ()
) -> int:
    """Confine this process for good: read below `readable`, list `listable`, write below `scratch`, read `files`.

    Returns the Landlock version used. Raises OSError where the kernel has none.
    """
    version = landlock_version()
    if version < 1:
        raise OSError(errno.ENOSYS, "the kernel has no Landlock")
    handled = _ALL_OF_ABI_1
    handled |= _REFER if version >= 2 else 0
    handled |= _TRUNCATE if version >= 3 else 0
    handled |= _IOCTL_DEV if version >= 5 else 0
    network = 3 if version >= 4 else 0  # TCP bind and connect
    scoped = 3 if version >= 6 else 0  # abstract Unix sockets and signals to processes outside
    attributes = struct.pack("QQQ", handled, network, scoped)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _checked(_CREATE_RULESET, attributes[:size], ctypes.c_size_t(size), 0)
    try:
        for path in readable:
            _allow(ruleset, path, (_READ_FILE | _READ_DIR | _EXECUTE) & handled)
        for path in listable:
            _allow(ruleset, path, _READ_DIR)
        for path in files:
            _allow(ruleset, path, (_READ_FILE | _WRITE_FILE) & handled)
        _allow(ruleset, scratch, (_SCRATCH | _REFER | _TRUNCATE) & handled)
        no_new_privileges()
        _checked(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, folder)
        _checked(_ADD_RULE, ruleset, 1, rule, 0)
    finally:
        os.close(folder)


def _checked(number: int, *arguments: object) -> int:
    result = _libc.syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")
    return result


# --- Privileges -----------------------------------------------------------------------------------------------------


def no_new_privileges() -> None:
    """No program run from here on can gain privileges. Landlock and seccomp demand it."""
    _done(_prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def drop_capabilities() -> None:
    """Root without capabilities: still the owner of its files, no longer above the rules."""
    capset = {"x86_64": 126, "aarch64": 91}[MACHINE]
    _checked(capset, struct.pack("Ii", 0x20080522, 0), struct.pack("6I", 0, 0, 0, 0, 0, 0))


def die_with_parent() -> None:
    """Kill this process when its parent ends. Right only for a parent with one thread: it fires when the *thread* ends."""
    _done(_prctl(PR_SET_PDEATHSIG, SIGKILL))


def _done(result: int) -> None:
    if result != 0:
        raise OSError("a call that confines this process was refused")


# --- Limits ---------------------------------------------------------------------------------------------------------

SCRATCH_FILE_BYTES = 4 << 20


def limit_process() -> None:
    """The limits that are the same for every program; memory and CPU time come with each."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (SCRATCH_FILE_BYTES, SCRATCH_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    stack = 8 << 20
    resource.setrlimit(resource.RLIMIT_STACK, (stack, stack))


def limit_program(memory_bytes: int, cpu_s: int) -> None:
    """Address space and CPU time of one program."""
    for limit, value in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CPU, cpu_s)):
        _soft_and_hard[:] = [value, value]
        _done(_setrlimit(limit, _soft_and_hard))


# --- seccomp --------------------------------------------------------------------------------------------------------
# The calls a Python program needs, and no others: what is not named fails with "operation not permitted".

_ALLOWED = {
    "x86_64": {
        "read": 0, "write": 1, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8, "mmap": 9,
        "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
        "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "access": 21, "select": 23, "sched_yield": 24,
        "mremap": 25, "madvise": 28, "dup": 32, "dup2": 33, "pause": 34, "nanosleep": 35, "getitimer": 36,
        "alarm": 37, "setitimer": 38, "getpid": 39, "exit": 60, "uname": 63, "fcntl": 72, "fsync": 74,
        "fdatasync": 75, "ftruncate": 77, "getdents": 78, "getcwd": 79, "chdir": 80, "fchdir": 81, "rename": 82,
        "mkdir": 83, "rmdir": 84, "unlink": 87, "readlink": 89, "umask": 95, "gettimeofday": 96, "getrlimit": 97,
        "getrusage": 98, "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108,
        "getppid": 110, "getgroups": 115, "getresuid": 118, "getresgid": 120, "rt_sigpending": 127,
        "sigaltstack": 131, "arch_prctl": 158, "gettid": 186, "time": 201, "futex": 202, "getdents64": 217,
        "set_tid_address": 218, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
        "clock_nanosleep": 230, "exit_group": 231, "epoll_wait": 232, "epoll_ctl": 233, "mkdirat": 258,
        "newfstatat": 262, "unlinkat": 263, "renameat": 264, "readlinkat": 267, "faccessat": 269, "pselect6": 270,
        "ppoll": 271, "set_robust_list": 273, "epoll_create1": 291, "dup3": 292, "pipe2": 293, "preadv": 295,
        "renameat2": 316, "getrandom": 318, "statx": 332, "rseq": 334, "faccessat2": 439,
    },
    "aarch64": {
        "getcwd": 17, "epoll_create1": 20, "epoll_ctl": 21, "epoll_pwait": 22, "dup": 23, "dup3": 24, "fcntl": 25,
        "mkdirat": 34, "unlinkat": 35, "renameat": 38, "ftruncate": 46, "faccessat": 48, "chdir": 49,
        "fchdir": 50, "close": 57, "pipe2": 59, "getdents64": 61, "lseek": 62, "read": 63, "write": 64,
        "readv": 65, "writev": 66, "pread64": 67, "pwrite64": 68, "preadv": 69, "pselect6": 72, "ppoll": 73,
        "readlinkat": 78, "newfstatat": 79, "fstat": 80, "fsync": 82, "fdatasync": 83, "exit": 93,
        "exit_group": 94, "set_tid_address": 96, "futex": 98, "set_robust_list": 99, "nanosleep": 101,
        "getitimer": 102, "setitimer": 103, "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115,
        "restart_syscall": 128, "sched_yield": 124, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135,
        "rt_sigpending": 136, "rt_sigreturn": 139, "getresuid": 148, "getresgid": 150, "times": 153,
        "getgroups": 158, "uname": 160, "getrlimit": 163, "getrusage": 165, "umask": 166, "gettimeofday": 169,
        "getpid": 172, "getppid": 173, "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177, "gettid": 178,
        "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226, "madvise": 233,
        "renameat2": 276, "getrandom": 278, "statx": 291, "rseq": 293, "faccessat2": 439,
    },
}  # fmt: skip
# Calls allowed with certain arguments only.
_SPECIAL = {
    "x86_64": {"open": 2, "openat": 257, "ioctl": 16, "clone": 56, "prlimit64": 302, "clone3": 435, "openat2": 437,
               "sched_getaffinity": 204},
    "aarch64": {"openat": 56, "ioctl": 29, "clone": 220, "prlimit64": 261, "clone3": 435, "openat2": 437,
                "sched_getaffinity": 123},
}  # fmt: skip
_RECVMSG = {"x86_64": 47, "aarch64": 212}
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_CLONE_THREAD = 0x00010000
_TCGETS, _TIOCGWINSZ, _FIONREAD, _FIONCLEX, _FIOCLEX = 0x5401, 0x5413, 0x541B, 0x5450, 0x5451


_Instruction = tuple[int, int, int, int]  # operation, jump if true, jump if false, operand


def seccomp_program(receives: bool = False) -> bytes:
    """The filter as machine instructions, to be built once and installed in every student's process.

    `receives`: descriptors may come over a channel, as a judge's do.
    Raises OSError on an architecture whose call numbers are not known here.
    """
    if MACHINE not in _ALLOWED:
        raise OSError(errno.ENOSYS, f"no list of system calls for the architecture {MACHINE}")
    special = _SPECIAL[MACHINE]
    allow = [(_RETURN, 0, 0, _ALLOW)]
    refuse = [(_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    answers = dict.fromkeys(_ALLOWED[MACHINE].values(), allow)
    if receives:
        answers[_RECVMSG[MACHINE]] = allow
    # A new thread is welcome, a new process is not.
    answers[special["clone"]] = [*_argument(0), (_ANY_BIT, 0, 1, _CLONE_THREAD), *allow, *refuse]
    for name in ("prlimit64", "sched_getaffinity"):  # of this process, not of another
        answers[special[name]] = [*_argument(0), (_EQUAL, 0, 1, 0), *allow, *refuse]
    harmless = (_TCGETS, _TIOCGWINSZ, _FIONREAD, _FIONCLEX, _FIOCLEX)
    tests = [line for request in harmless for line in ((_EQUAL, 0, 1, request), *allow)]
    answers[special["ioctl"]] = [*_argument(1), *tests, (_RETURN, 0, 0, _ERRNO | errno.ENOTTY)]
    # Opening for reading with O_TRUNC empties the file, which Landlock before its version 3 lets pass.
    for name, flags in (("open", 1), ("openat", 2)):
        if name in special:
            test = [(_AND, 0, 0, os.O_TRUNC | os.O_ACCMODE), (_EQUAL, 1, 0, os.O_TRUNC)]
            answers[special[name]] = [*_argument(flags), *test, *allow, *refuse]
    for name in ("clone3", "openat2"):  # their arguments cannot be seen; libc falls back to the older call
        answers[special[name]] = [(_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _AUDIT_ARCH[MACHINE]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        *_search(_ranges(answers, refuse)),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in code)


def _argument(number: int) -> "list[_Instruction]":
    return [(_LOAD, 0, 0, _ARGUMENTS + 8 * number)]


def _ranges(
    answers: "dict[int, list[_Instruction]]", otherwise: "list[_Instruction]"
) -> "list[tuple[int, list[_Instruction]]]":
    """The first call number of each range of numbers with the same answer, and that answer."""
    ranges = [(0, answers.get(0, otherwise))]
    for number in range(1, max(answers) + 2):
        answer = answers.get(number, otherwise)
        if answer != ranges[-1][1]:
            ranges.append((number, answer))
    return ranges


def _search(ranges: "list[tuple[int, list[_Instruction]]]") -> "list[_Instruction]":
    """Instructions that halve the ranges until one is left.

    Every new process makes the kernel run the filter for each call number there is, which takes as long as
    the longest part of a program's start when the numbers are compared one by one.
    """
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, above = _search(ranges[:middle]), _search(ranges[middle:])
    if len(below) > 255:
        raise ValueError("a jump is too far for this machine code")
    return [(_AT_LEAST, len(below), 0, ranges[middle][0]), *below, *above]


class SeccompFilter:
    """A filter ready to be installed: installing it is one system call."""

    def __init__(self, receives: bool = False) -> None:
        program = seccomp_program(receives)
        self._instructions = ctypes.create_string_buffer(program, len(program))
        # struct sock_fprog: a count, padding, a pointer
        self._program = ctypes.create_string_buffer(
            struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(self._instructions)), 16
        )
        self._pointer = ctypes.c_void_p(ctypes.addressof(self._program))

    def install(self) -> None:
        """Confine this process to the allowed calls. no_new_privileges must have been called."""
        _done(_prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, self._pointer))

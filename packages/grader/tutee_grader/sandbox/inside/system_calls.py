"""The system calls that a Python program may make, the arguments it may make them with, and why.

What is not here fails with "operation not permitted". The filter sees the numbers in the arguments of a call,
not what pointers point to; so each call here is harmless whatever memory it is given. The kernel reads the
lower half of an argument that is an `int`, and so do the checks; where it reads a whole `long`, both halves
are checked, or the upper one has no meaning.
"""

import errno
import os

import bpf
from bpf import ALLOW, Block, at_most, cases, error, is_null, is_one_of, no_high_bits, only_bits

NUMBERS = {
    "x86_64": {
        "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7,
        "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13,
        "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "pread64": 17, "pwrite64": 18, "readv": 19,
        "writev": 20, "access": 21, "select": 23, "sched_yield": 24, "mremap": 25, "msync": 26, "madvise": 28,
        "dup": 32, "dup2": 33, "pause": 34, "nanosleep": 35, "getitimer": 36, "alarm": 37, "setitimer": 38,
        "getpid": 39, "sendto": 44, "recvfrom": 45, "recvmsg": 47, "socketpair": 53, "clone": 56, "exit": 60,
        "uname": 63, "fcntl": 72, "fsync": 74, "fdatasync": 75, "ftruncate": 77, "getcwd": 79, "chdir": 80,
        "fchdir": 81, "rename": 82, "mkdir": 83, "rmdir": 84, "unlink": 87, "readlink": 89, "umask": 95,
        "gettimeofday": 96, "getrlimit": 97, "getrusage": 98, "times": 100, "getuid": 102, "getgid": 104,
        "geteuid": 107, "getegid": 108, "getppid": 110, "getgroups": 115, "getresuid": 118, "getresgid": 120,
        "rt_sigpending": 127, "sigaltstack": 131, "gettid": 186, "time": 201, "futex": 202,
        "sched_getaffinity": 204, "getdents64": 217, "restart_syscall": 219, "clock_gettime": 228,
        "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "epoll_wait": 232, "epoll_ctl": 233,
        "openat": 257, "mkdirat": 258, "newfstatat": 262, "unlinkat": 263, "renameat": 264, "readlinkat": 267,
        "faccessat": 269, "pselect6": 270, "ppoll": 271, "set_robust_list": 273, "epoll_pwait": 281,
        "epoll_create1": 291, "dup3": 292, "pipe2": 293, "preadv": 295, "prlimit64": 302, "getrandom": 318,
        "statx": 332, "rseq": 334, "clone3": 435, "openat2": 437, "faccessat2": 439,
    },
    "aarch64": {
        "getcwd": 17, "epoll_create1": 20, "epoll_ctl": 21, "epoll_pwait": 22, "dup": 23, "dup3": 24,
        "fcntl": 25, "ioctl": 29, "mkdirat": 34, "unlinkat": 35, "renameat": 38, "ftruncate": 46,
        "faccessat": 48, "chdir": 49, "fchdir": 50, "openat": 56, "close": 57, "pipe2": 59, "getdents64": 61,
        "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67, "pwrite64": 68,
        "preadv": 69, "pselect6": 72, "ppoll": 73, "readlinkat": 78, "newfstatat": 79, "fstat": 80,
        "fsync": 82, "fdatasync": 83, "exit": 93, "exit_group": 94, "futex": 98, "set_robust_list": 99,
        "nanosleep": 101, "getitimer": 102, "setitimer": 103, "clock_gettime": 113, "clock_getres": 114,
        "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128,
        "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigpending": 136,
        "rt_sigreturn": 139, "getresuid": 148, "getresgid": 150, "times": 153, "getgroups": 158, "uname": 160,
        "getrlimit": 163, "getrusage": 165, "umask": 166, "gettimeofday": 169, "getpid": 172, "getppid": 173,
        "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177, "gettid": 178, "socketpair": 199,
        "sendto": 206, "recvfrom": 207, "recvmsg": 212, "brk": 214, "munmap": 215, "mremap": 216,
        "clone": 220, "mmap": 222, "mprotect": 226, "msync": 227, "madvise": 233, "prlimit64": 261,
        "getrandom": 278, "statx": 291, "rseq": 293, "clone3": 435, "openat2": 437, "faccessat2": 439,
    },
}  # fmt: skip
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# --- Calls without a check ----------------------------------------------------------------------------------

_UNCHECKED = (
    # Input and output on descriptors it holds: files that Landlock let it open, and its own channel.
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "lseek", "close", "ftruncate",
    "dup", "dup2", "dup3", "getdents64",
    # Waiting for its own descriptors.
    "poll", "ppoll", "select", "pselect6", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
    # Names, sizes and dates of files, which Landlock does not guard; and changes to files, which it does.
    "stat", "fstat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2",
    "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat",
    "getcwd", "chdir", "fchdir", "umask",
    # Its own address space: bounded by a limit, and no mapping is shared with another process.
    "mprotect", "munmap", "brk",
    # Its own threads and signal handlers. None of these sends a signal to anybody else; the timers are those
    # of setitimer, whose signal goes to the process itself.
    "rt_sigaction", "rt_sigprocmask", "rt_sigpending", "rt_sigreturn", "sigaltstack", "restart_syscall",
    "set_robust_list", "rseq", "sched_yield", "exit", "exit_group",
    "getitimer", "setitimer", "alarm", "pause", "nanosleep", "gettimeofday", "time",
    # What it may know about itself, and the name of the kernel. In a sandbox with namespaces of its own, the
    # machine's name is "sandbox".
    "getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getgroups", "getresuid",
    "getresgid", "getrlimit", "getrusage", "times", "uname", "getrandom",
)  # fmt: skip

# --- Calls that are answered and never made -----------------------------------------------------------------

_ANSWERED = {
    # Nothing outlives a program, so nothing need reach a disk; and to wait for one slows down everybody.
    "fsync": 0,
    "fdatasync": 0,
    "msync": 0,
    # "Not a symbolic link": a program can make none, and those of /proc name places on this machine.
    "readlink": errno.EINVAL,
    "readlinkat": errno.EINVAL,
    # Their arguments lie in memory, where the filter cannot see them; libc falls back to clone and openat.
    "clone3": errno.ENOSYS,
    "openat2": errno.ENOSYS,
}

# --- Calls with a check of their arguments ------------------------------------------------------------------

# The flags with which glibc and musl start a thread (pthread_create): the same memory, files and handlers.
# Others make a process, a namespace, or a child whose end sends a signal of the program's choice.
_THREAD = 0x3D0F00
_CLONE_DETACHED = 0x00400000  # musl adds it; the kernel ignores it

_O_RDONLY, _O_WRONLY, _O_RDWR, _O_ACCMODE = 0, 1, 2, 3
_O_CREAT, _O_EXCL, _O_NOCTTY, _O_TRUNC = 0o100, 0o200, 0o400, 0o1000
_O_APPEND, _O_NONBLOCK, _O_ASYNC, _O_CLOEXEC = 0o2000, 0o4000, 0o20000, 0o2000000
_O_DIRECT = {"x86_64": 0o40000, "aarch64": 0o200000}
_O_DIRECTORY = {"x86_64": 0o200000, "aarch64": 0o40000}
_O_NOFOLLOW = {"x86_64": 0o400000, "aarch64": 0o100000}
_O_LARGEFILE = {"x86_64": 0o100000, "aarch64": 0o400000}

_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC = 0, 1, 2, 3, 4, 1030
_F_SETLK, _F_SETLKW = 6, 7
_TCGETS, _TIOCGWINSZ, _FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX = (
    0x5401,
    0x5413,
    0x541B,
    0x5421,
    0x5450,
    0x5451,
)

# MAP_SHARED, PRIVATE, FIXED, ANONYMOUS, DENYWRITE, NORESERVE, POPULATE, STACK, FIXED_NOREPLACE
_MAP = 0x01 | 0x02 | 0x10 | 0x20 | 0x800 | 0x4000 | 0x8000 | 0x20000 | 0x100000
_SHARED, _ANONYMOUS = 0x01, 0x20
_RLIMIT_CORE = 4
_MREMAP_MAYMOVE = 1
_MADV = (0, 1, 2, 3, 4, 8, 14, 15)  # NORMAL to WILLNEED, DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE
_FUTEX = (0, 1, 3, 4, 5, 9, 10)  # WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET
_FUTEX_FLAGS = 0x80 | 0x100  # PRIVATE, CLOCK_REALTIME
_CLOCK_TAI = 11  # the last of those that are the same for every process

_AF_UNIX, _SOCK_STREAM = 1, 1
_MSG_PEEK, _MSG_DONTWAIT, _MSG_WAITALL, _MSG_NOSIGNAL, _MSG_CMSG_CLOEXEC = (
    0x02,
    0x40,
    0x100,
    0x4000,
    0x40000000,
)


def _opens(argument: int, machine: str) -> Block:
    """Opening a file, with its flags in this argument.

    O_ASYNC makes a file that sends signals, O_TMPFILE one that nobody can find; O_SYNC and O_DIRECT wait for
    a disk; O_PATH opens what Landlock guards. Opening with O_TRUNC but not for writing empties the file, and
    both bits of O_ACCMODE open it for neither, both of which Landlock before its version 3 lets pass.
    """
    flags = _O_ACCMODE | _O_CREAT | _O_EXCL | _O_NOCTTY | _O_TRUNC | _O_APPEND | _O_NONBLOCK | _O_CLOEXEC
    flags |= _O_DIRECTORY[machine] | _O_NOFOLLOW[machine] | _O_LARGEFILE[machine]
    modes = (_O_RDONLY, _O_WRONLY, _O_RDWR, _O_WRONLY | _O_TRUNC, _O_RDWR | _O_TRUNC)
    return [*only_bits(argument, flags), *cases(argument, {modes: ALLOW}, mask=_O_ACCMODE | _O_TRUNC)]


def _checked(machine: str) -> "dict[str, Block]":
    own_process = cases(0, {(0,): ALLOW})
    clock = [*at_most(0, _CLOCK_TAI, error(errno.EINVAL)), *ALLOW]
    pair_flags = _O_NONBLOCK | _O_CLOEXEC
    return {
        "clone": cases(0, {(_THREAD, _THREAD | _CLONE_DETACHED): [*no_high_bits(0), *ALLOW]}),
        # Not the operations on PI futexes, which act on whatever thread the memory names.
        "futex": cases(1, {_FUTEX: ALLOW}, error(errno.ENOSYS), mask=~_FUTEX_FLAGS & 0xFFFFFFFF),
        # Limits and cores of this process (0), not of another. Limits can only be lowered; not that of dumps,
        # which has a meaning of its own when it is 0 (see confinement.limit_process).
        "prlimit64": [
            *is_one_of(0, (0,)),
            *cases(1, {(_RLIMIT_CORE,): [*is_null(2), *ALLOW]}, ALLOW),
        ],
        "sched_getaffinity": own_process,
        # Not the clocks of other processes (negative numbers), which tell what they do.
        "clock_gettime": clock,
        "clock_getres": clock,
        "clock_nanosleep": clock,
        # No huge pages and no locked ones, which are the whole machine's; no shared memory but that of files,
        # since it stays whole while one page of it is mapped, and only those count against a limit.
        "mmap": [
            *only_bits(3, _MAP),
            *no_high_bits(3),
            *cases(3, {(_SHARED | _ANONYMOUS,): error(errno.EPERM)}, ALLOW, mask=_SHARED | _ANONYMOUS),
        ],
        "mremap": [*only_bits(3, _MREMAP_MAYMOVE), *no_high_bits(3), *ALLOW],
        # Advice about its own pages; none that merges, poisons or pages out what others use as well.
        "madvise": cases(2, {_MADV: ALLOW}, error(errno.EINVAL)),
        "open": _opens(1, machine),
        "openat": _opens(2, machine),
        # Descriptors and their flags. No owner, signal, lease or notice, nor O_ASYNC: all of them send
        # signals to other processes. Locks are granted without being taken: nobody else has these files.
        "fcntl": cases(
            1,
            {
                (_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC): ALLOW,
                (_F_SETFL,): [*only_bits(2, ~_O_ASYNC), *ALLOW],
                (_F_SETLK, _F_SETLKW): error(0),
            },
        ),
        # Whether it is a terminal, what is there to read, flags; not FIOASYNC, FIOSETOWN and the like.
        "ioctl": cases(
            1,
            {(_TCGETS, _TIOCGWINSZ, _FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX): ALLOW},
            error(errno.ENOTTY),
        ),
        # Not O_NOTIFICATION_PIPE, into which the kernel writes.
        "pipe2": [*only_bits(1, _O_CLOEXEC | _O_NONBLOCK | _O_DIRECT[machine]), *ALLOW],
        # Two sockets that reach only each other, by which an event loop wakes itself. Nothing is sent to an
        # address, and no urgent data (MSG_OOB), which sends a signal.
        "socketpair": [
            *is_one_of(0, (_AF_UNIX,)),
            *only_bits(1, _SOCK_STREAM | pair_flags),
            *is_one_of(2, (0,)),
            *ALLOW,
        ],
        "sendto": [*only_bits(3, _MSG_DONTWAIT | _MSG_NOSIGNAL), *is_null(4), *ALLOW],
        "recvfrom": [*only_bits(3, _MSG_PEEK | _MSG_DONTWAIT | _MSG_WAITALL), *ALLOW],
    }


def filter_program(receives: bool = False, machine: str = "") -> bytes:
    """The filter as machine instructions for this machine or, to look at, for another.

    `receives`: descriptors may come over a channel, as a judge's do.
    Raises OSError for an architecture whose call numbers are not known here.
    """
    machine = machine or os.uname().machine
    if machine not in NUMBERS:
        raise OSError(errno.ENOSYS, f"no list of system calls for the architecture {machine}")
    answers = dict.fromkeys(_UNCHECKED, ALLOW) | _checked(machine)
    answers |= {name: error(code) for name, code in _ANSWERED.items()}
    if receives:
        flags = _MSG_PEEK | _MSG_DONTWAIT | _MSG_WAITALL | _MSG_CMSG_CLOEXEC
        answers["recvmsg"] = [*only_bits(2, flags), *ALLOW]
    numbers = NUMBERS[machine]
    return bpf.program(
        {numbers[name]: answers[name] for name in answers if name in numbers}, _AUDIT_ARCH[machine]
    )

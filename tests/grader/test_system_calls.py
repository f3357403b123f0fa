"""The filter of system calls: what it lets through, with which arguments, run by a model and by a kernel."""

import errno
import json
import re
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tutee_grader import Grader, feedback
from tutee_grader.attacks.signals import SIGNALS
from tutee_grader.sandbox.worker import INSIDE

ALLOW, KILL = 0x7FFF0000, 0x80000000
MACHINES = ("x86_64", "aarch64")
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
HIGH = 1 << 32


@pytest.fixture(scope="module")
def system_calls() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(INSIDE)
        import system_calls

    return system_calls


class Filter:
    """A filter, run as the kernel runs it (linux/filter.h)."""

    def __init__(self, system_calls: ModuleType, machine: str, receives: bool = False) -> None:
        program = system_calls.filter_program(receives, machine)
        self.code = list(struct.iter_unpack("HBBI", program))
        self.numbers = system_calls.NUMBERS[machine]
        self.architecture = ARCHITECTURES[machine]
        self.steps = 0

    def run(self, number: int, *arguments: int, architecture: int | None = None) -> int:
        padded = [argument & (HIGH * HIGH - 1) for argument in arguments] + [0] * 6
        data = struct.pack("=IIQ6Q", number, architecture or self.architecture, 0, *padded[:6])
        value, place, self.steps = 0, 0, 0
        while True:
            operation, if_true, if_false, operand = self.code[place]
            place += 1
            self.steps += 1
            match operation:
                case 0x20:
                    (value,) = struct.unpack_from("=I", data, operand)
                case 0x54:
                    value &= operand
                case 0x05:
                    place += operand
                case 0x15:
                    place += if_true if value == operand else if_false
                case 0x25:
                    place += if_true if value > operand else if_false
                case 0x35:
                    place += if_true if value >= operand else if_false
                case 0x45:
                    place += if_true if value & operand else if_false
                case 0x06:
                    return operand
                case _:
                    raise AssertionError(f"no such operation: {operation:#x}")

    def errno(self, name: str, *arguments: int) -> int | None:
        """The error with which a call fails without being made, None where it is made."""
        answer = self.run(self.numbers[name], *arguments)
        assert answer == ALLOW or answer >> 16 == 5, hex(answer)
        return None if answer == ALLOW else answer & 0xFFFF


@pytest.fixture(params=MACHINES)
def student(request: pytest.FixtureRequest, system_calls: ModuleType) -> Filter:
    return Filter(system_calls, request.param)


@pytest.fixture(params=MACHINES)
def judge(request: pytest.FixtureRequest, system_calls: ModuleType) -> Filter:
    return Filter(system_calls, request.param, receives=True)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_the_kernel(system_calls, machine):
    if not HEADERS[machine].exists():
        pytest.skip("the kernel's headers are not installed: apt-get install linux-libc-dev")
    text = HEADERS[machine].read_text()
    found = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
    found |= {"newfstatat": found.get("newfstatat", found.get("fstatat", -1))}
    numbers = system_calls.NUMBERS[machine]
    assert {name: found[name] for name in numbers} == numbers


def test_a_call_that_is_not_listed_is_refused(student):
    listed = set(student.numbers.values())
    for number in [*range(600), 1 << 30, HIGH - 1]:
        if number not in listed:
            assert student.run(number) == 5 << 16 | errno.EPERM, number
    assert student.errno("recvmsg") == errno.EPERM


def test_the_calls_of_another_architecture_end_the_process(student):
    others = [0x40000003, 0x40000028, *(a for a in ARCHITECTURES.values() if a != student.architecture)]
    for architecture in others:
        assert student.run(student.numbers["read"], architecture=architecture) == KILL
    assert student.run(student.numbers["read"] | 0x40000000) == 5 << 16 | errno.EPERM  # x32


def test_the_answer_is_found_by_halving(student):
    # The kernel looks for the answer to every number when a process takes the filter: steps, not a list.
    steps = []
    for number in range(500):
        student.run(number)
        steps.append(student.steps)
    assert sum(steps) / len(steps) < 16
    assert len(student.code) < 256


# A call with its arguments, and whether it is made (None) or the error that it gets instead.
_SETFL, _SETOWN, _SETSIG, _SETOWN_EX, _SETLEASE, _NOTIFY = 4, 8, 10, 15, 1024, 1026
_THREAD = 0x3D0F00  # strace of pthread_create under glibc; musl's src/thread/pthread_create.c adds 0x400000
BOTH = [
    ("fcntl", (3, 1030, 0), None),
    ("fcntl", (3, _SETFL, 0o4000), None),
    ("fcntl", (3, _SETFL, 0o24000), errno.EPERM),
    ("fcntl", (3, _SETFL, HIGH | 0o20000), errno.EPERM),
    *[("fcntl", (3, command, 9), errno.EPERM) for command in range(5, 40) if command not in (6, 7)],
    *[("fcntl", (3, command, 9), errno.EPERM) for command in range(1024, 1045) if command != 1030],
    *[("fcntl", (3, high | _SETOWN, 9), errno.EPERM) for high in (HIGH, -HIGH)],
    ("fcntl", (3, 6, 0), 0),
    ("ioctl", (3, 0x5421), None),
    *[("ioctl", (3, request), errno.ENOTTY) for request in (0x5452, 0x8901, 0x8902, 0x5412, HIGH | 0x8901)],
    ("clone", (_THREAD,), None),
    ("clone", (_THREAD | 0x400000,), None),
    *[("clone", (_THREAD ^ 1 << bit,), errno.EPERM) for bit in range(64) if bit != 22],
    *[("clone", (flags,), errno.EPERM) for flags in (0, 17, 0x4111, 0x8000 | 17, 0x10000, 0x10000000 | 17)],
    ("clone3", (1, 88), errno.ENOSYS),
    ("openat2", (3, 1, 1, 24), errno.ENOSYS),
    *[("openat", (-100, 1, flags), None) for flags in (0, 1, 2, 0o1101, 0o1102, 0o2101, 0o2000000, 0o4000)],
    ("openat", (3, 1, 0o1000), errno.EPERM),  # empties what it opens for reading
    ("openat", (3, 1, 0o1003), errno.EPERM),  # ... or for nothing
    ("openat", (3, 1, 3), errno.EPERM),
    ("openat", (3, 1, 0o20000), errno.EPERM),  # O_ASYNC
    ("openat", (3, 1, 0o10000000), errno.EPERM),  # O_PATH
    ("openat", (3, 1, 0o20000002), errno.EPERM),  # O_TMPFILE
    ("openat", (3, 1, 0o4010001), errno.EPERM),  # O_SYNC
    ("pipe2", (1, 0o2004000), None),
    ("pipe2", (1, 0o200), errno.EPERM),  # O_NOTIFICATION_PIPE
    *[("mmap", (0, 4096, 3, flags), None) for flags in (0x22, 0x01, 0x02, 0x812, 0x802, 0x20022, 0x4022)],
    *[("mmap", (0, 4096, 3, flags | 0x22), errno.EPERM) for flags in (0x2000, 0x40000, 0x80000, HIGH)],
    *[
        ("mmap", (0, 4096, 3, flags), errno.EPERM) for flags in (0x21, 0x23, 0x4021, 0x8021)
    ],  # shared, no file
    ("mremap", (1, 1, 2, 1), None),
    *[("mremap", (1, 1, 2, flags), errno.EPERM) for flags in (2, 3, 4, 5, HIGH | 1)],
    *[("madvise", (1, 1, advice), None) for advice in (0, 4, 8, 14)],
    *[("madvise", (1, 1, advice), errno.EINVAL) for advice in (9, 10, 12, 20, 21, 25, 100, 101, 1 << 31)],
    *[("futex", (1, op | flag), None) for op in (0, 1, 3, 9, 10) for flag in (0, 128, 256, 384)],
    *[("futex", (1, op | flag), errno.ENOSYS) for op in (6, 7, 8, 11, 12, 13, 64) for flag in (0, 128)],
    *[(name, (0, 1), None) for name in ("prlimit64", "sched_getaffinity")],
    *[(name, (pid, 1), errno.EPERM) for name in ("prlimit64", "sched_getaffinity") for pid in (1, -1)],
    *[
        ("prlimit64", (0, 4, new), wanted)
        for new, wanted in ((0, None), (1, errno.EPERM), (HIGH, errno.EPERM))
    ],
    *[(name, (2,), None) for name in ("clock_gettime", "clock_getres", "clock_nanosleep")],
    *[("clock_gettime", (clock,), errno.EINVAL) for clock in (-6, -1, ~1234 << 3 | 2, 12, 1 << 31)],
    *[("socketpair", (1, kind, 0), None) for kind in (1, 0o2000001, 0o4001, 0o2004001)],
    *[("socketpair", call, errno.EPERM) for call in ((2, 1, 0), (1, 2, 0), (1, 5, 0), (1, 3, 0), (1, 1, 6))],
    *[("sendto", (3, 1, 1, flags, 0, 0), None) for flags in (0, 0x40, 0x4000)],
    *[("sendto", (3, 1, 1, flags, 0, 0), errno.EPERM) for flags in (1, 0x41, 0x4001, 0x20000000, 1 << 26)],
    *[("sendto", (3, 1, 1, 0, address, 16), errno.EPERM) for address in (1, HIGH, 0x7FFF00000000)],
    *[("recvfrom", (3, 1, 1, flags, 0, 0), None) for flags in (0, 2, 0x40, 0x100)],
    *[("recvfrom", (3, 1, 1, flags, 0, 0), errno.EPERM) for flags in (1, 3, 0x2000)],
    *[(name, (1,), 0) for name in ("fsync", "fdatasync", "msync")],
    ("readlinkat", (-100, 1, 1, 99), errno.EINVAL),
]


def test_each_call_is_let_through_with_harmless_arguments_only(student):
    assert [
        (name, arguments, found)
        for name, arguments, expected in BOTH
        if (found := student.errno(name, *arguments)) != expected
    ] == []


def test_the_older_call_that_opens_files_has_the_same_check(system_calls):
    older = Filter(system_calls, "x86_64")
    opened = [(arguments, expected) for name, arguments, expected in BOTH if name == "openat"]
    for (_, path, flags), expected in opened:
        assert older.errno("open", path, flags) == expected
    assert older.errno("readlink", 1, 1, 99) == errno.EINVAL


def test_a_judge_may_receive_descriptors_and_no_urgent_data(judge):
    assert judge.errno("recvmsg", 3, 1, 0) is None
    assert judge.errno("recvmsg", 3, 1, 1) == errno.EPERM


# --- in the kernel ------------------------------------------------------------------------------------------

ALONE = """
import confinement, json, os, sys
confinement.no_new_privileges()
seccomp = confinement.SeccompFilter()
def wins(program):
    child = os.fork()
    if child == 0:
        try:
            seccomp.install()
            names = {}
            exec(program, names)
            os._exit(names["answer"]() == "@SECRET@")
        except OSError:
            os._exit(0)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] != 0
print(json.dumps([name for name, program in json.load(sys.stdin) if wins(program)]))
"""
SOCKETS = {
    "a socket": "import _socket\ndef answer(): return _socket.socket({}, {}) and '@SECRET@'",
    "a system call": "import ctypes\nlibc = ctypes.CDLL(None)\nzero = ctypes.create_string_buffer(256)\n"
    "def answer():\n    if libc.syscall({}, 3, zero, zero, 0, 0, 0) >= 0: return '@SECRET@'",
}


@pytest.fixture
def run_alone(tmp_path: Path):
    """The names of those programs that win under the filter alone: without Landlock, bubblewrap or limits."""
    return lambda programs: _run_alone(programs, tmp_path)


def _run_alone(programs: list[tuple[str, str]], folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-s", "-S", "-P", "-c", ALONE],
        env={"PYTHONPATH": str(INSIDE)},
        cwd=folder,
        input=json.dumps(programs),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_the_filter_alone_refuses_every_way_to_send_a_signal(run_alone):
    assert run_alone([(attack.name, attack.program) for attack in SIGNALS]) == []


def test_the_filter_alone_refuses_every_way_to_reach_a_socket(run_alone):
    families = [(f"family {f}, type {t}", f, t) for f in (*range(1, 46),) for t in (1, 2, 3, 5)]
    made = [(name, SOCKETS["a socket"].format(*kind)) for name, *kind in families]
    # connect, accept, sendmsg, bind, listen, setsockopt, accept4, recvmmsg, sendmmsg, io_uring_setup
    numbers = (42, 43, 46, 49, 50, 54, 288, 299, 307, 425)
    called = [(f"call {number}", SOCKETS["a system call"].format(number)) for number in numbers]
    assert run_alone(made + called) == []


def test_the_check_would_notice_a_call_that_is_made(run_alone):
    assert run_alone([("getpid", SOCKETS["a system call"].format(39))]) == ["getpid"]


def graded(any_grader: Grader, calls, expected: str, program: str) -> str:
    (verdict,) = any_grader.grade([(calls(("f()", expected), limits="{seconds: 3}"), program)])
    return feedback(verdict)


PASSED = "The only test passed."


def test_an_event_loop_runs(any_grader, calls):
    program = (
        "import asyncio\n"
        "async def wait(number):\n"
        "    await asyncio.sleep(0.001 * number)\n"
        "    return number\n"
        "async def main():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    return [*await asyncio.gather(wait(2), wait(1)), await loop.run_in_executor(None, abs, -3)]\n"
        "def f(): return asyncio.run(main())\n"
    )
    assert graded(any_grader, calls, "[2, 1, 3]", program) == PASSED


def test_threads_pipes_and_maps_work(any_grader, calls):
    program = (
        "import mmap, os, threading\n"
        "def f():\n"
        "    found = []\n"
        "    threads = [threading.Thread(target=found.append, args=(n,)) for n in range(3)]\n"
        "    for thread in threads: thread.start()\n"
        "    for thread in threads: thread.join()\n"
        "    reader, writer = os.pipe()\n"
        "    os.set_blocking(reader, False)\n"
        "    os.write(writer, b'pipe')\n"
        "    with open('file', 'w+b') as file:\n"
        "        file.write(b'x' * 5000)\n"
        "        file.flush()\n"
        "        os.fsync(file.fileno())\n"
        "        with mmap.mmap(file.fileno(), 0) as mapped:\n"
        "            mapped[0:1] = b'm'\n"
        "            mapped.flush()\n"
        "    return sorted(found), os.read(reader, 9), open('file', 'rb').read(2)\n"
    )
    assert graded(any_grader, calls, "([0, 1, 2], b'pipe', b'mx')", program) == PASSED


def test_no_link_of_the_machine_is_read_and_paths_are_resolved(any_grader, calls):
    program = (
        "import os, pathlib\n"
        "def f():\n"
        "    links = []\n"
        "    for link in ('exe', 'cwd', 'root', 'fd/0', 'fd/3', 'ns/mnt'):\n"
        "        try: links.append(os.readlink(f'/proc/self/{link}'))\n"
        "        except OSError: pass\n"
        "    os.makedirs('a/b')\n"
        "    here = os.getcwd()\n"
        "    return (links, os.path.realpath('a/../a/b') == here + '/a/b',\n"
        "            str(pathlib.Path('a/b/../x').resolve()) == here + '/a/x')\n"
    )
    assert graded(any_grader, calls, "([], True, True)", program) == PASSED


def test_a_database_in_a_file_works_without_locks(any_grader, calls):
    program = (
        "import sqlite3\n"
        "def f():\n"
        "    with sqlite3.connect('rows.db') as rows:\n"
        "        rows.execute('CREATE TABLE t (n)')\n"
        "        rows.execute('INSERT INTO t VALUES (7)')\n"
        "    return sqlite3.connect('rows.db').execute('SELECT n FROM t').fetchall()\n"
    )
    assert graded(any_grader, calls, "[(7,)]", program) == PASSED


@pytest.mark.skipif(not Path("/usr/share/zoneinfo").is_dir(), reason="no time zones: apt-get install tzdata")
def test_time_zones_are_there(any_grader, calls):
    program = (
        "import datetime, zoneinfo\n"
        "def f():\n"
        "    zone = zoneinfo.ZoneInfo('Europe/Paris')\n"
        "    return datetime.datetime(2024, 1, 1, tzinfo=zone).utcoffset().seconds\n"
    )
    assert graded(any_grader, calls, "3600", program) == PASSED

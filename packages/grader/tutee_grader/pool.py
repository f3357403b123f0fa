"""The supervisor: hands programs to workers, keeps the deadlines, and turns answers into verdicts.

It runs in the thread that calls `Grader.grade`, without threads, signal handlers or an event loop of its own.
"""

import ast
import contextlib
import marshal
import math
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from tutee_grader import judgement
from tutee_grader.assignment import Assignment, CallTest, ClauseTest, ScriptTest
from tutee_grader.errors import SandboxFault
from tutee_grader.inside.zygote_messages import REAPED
from tutee_grader.verdict import Outcome, Status, TestResult, Verdict
from tutee_grader.worker import Worker

TICK_S = 0.02  # how often a program that takes its time is looked at
STARVED_FACTOR = 10  # on a busy machine, a program may take this many times its limit of wall time
INTERPRETER_BYTES = 96 << 20  # address space of the interpreter itself
MAX_ANSWER_BYTES = 16 << 20
ATTEMPTS = 3  # tries before a sandbox fault is given up on
SCRATCH_BYTES = 16 << 20


@dataclass(slots=True)
class Run:
    """One program under way."""

    index: int
    assignment: Assignment
    source: str
    results: list[TestResult] = field(default_factory=list)
    compiled: bool = False
    loaded: bool = False
    refused: str = ""  # why it does not compile
    stopped: bool = False  # an exception ended it while loading
    finished: bool = False
    killed_for: Outcome | None = None
    cpu_s: float = 0.0
    used_s: float = 0.0  # time of earlier processes of this program
    began: float = 0.0
    attempts: int = 0

    @property
    def missing(self) -> int:
        return len(self.assignment.tests) - len(self.results)


class Station:
    """A worker and the program it is at."""

    def __init__(self, bubblewrap: str | None) -> None:
        self.worker = Worker(bubblewrap)
        self.bubblewrap = bubblewrap
        self.run: Run | None = None
        self.channel: socket.socket | None = None
        self.buffer = bytearray()
        self.began = 0.0
        self.test_began = 0.0
        self.pid: int | None = None

    def replace(self) -> None:
        """A fresh worker in place of this one."""
        if self.channel is not None:
            self.channel.close()
        self.worker.close()
        self.worker = Worker(self.bubblewrap)
        self.worker.wait_until_ready()
        self.channel = self.run = None


@lru_cache(maxsize=256)
def _tests(assignment: Assignment, first: int) -> bytes:
    """The inputs of the tests from `first` on, as the student's process wants them. No expected value is among them."""
    tests: list[object] = []
    for test in assignment.tests[first:]:
        if isinstance(test, ScriptTest):
            tests.append(test.stdin.encode("utf-8", "replace"))
        elif isinstance(test, CallTest):
            tests.append([_code(test.call)])
        elif isinstance(test, ClauseTest):
            tests.append([_code(call) for call in test.clause.calls])
    return marshal.dumps(tests)


def _code(call: str) -> tuple[object, object]:
    tree = ast.parse(call)
    last = tree.body[-1]
    assert isinstance(last, ast.Expr)
    expression = compile(ast.Expression(last.value), "<test>", "eval", dont_inherit=True)
    if len(tree.body) == 1:
        return None, expression
    return compile(ast.Module(tree.body[:-1], []), "<test>", "exec", dont_inherit=True), expression


def _request(run: Run, seconds_left: float) -> bytes:
    limits = run.assignment.limits
    form = "stdio" if run.assignment.form == "stdio" else "calls"
    request = marshal.dumps(
        (
            form,
            run.source,
            INTERPRETER_BYTES + (limits.memory_mb << 20),
            math.ceil(seconds_left) + 1,
            limits.output_kb << 10,
            _tests(run.assignment, len(run.results)),
        )
    )
    return len(request).to_bytes(4, "little") + request


class Pool:
    """Workers, one per core, and the loop that keeps them busy."""

    def __init__(self, workers: int, bubblewrap: str | None) -> None:
        self.stations = [Station(bubblewrap) for _ in range(workers)]
        try:
            for station in self.stations:
                station.worker.wait_until_ready()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for station in self.stations:
            if station.channel is not None:
                station.channel.close()
            station.worker.close()

    def grade(self, jobs: Iterable[tuple[int, Assignment, str]]) -> Iterator[tuple[int, Verdict]]:
        """The verdict of each job, in the order in which they are done."""
        waiting = iter(jobs)
        again: deque[Run] = deque()
        poll = select.epoll()
        idle = list(self.stations)
        busy: dict[int, Station] = {}  # by the descriptor that is waited for
        try:
            while True:
                while idle:
                    run = again.popleft() if again else self._next(waiting)
                    if run is None:
                        break
                    station = idle.pop()
                    if self._begin(station, run):
                        assert station.channel is not None
                        descriptor = station.channel.fileno()
                        poll.register(descriptor, select.EPOLLRDHUP)
                        busy[descriptor] = station
                    else:
                        self._failed(station, again, "a sandbox process is gone")
                        idle.append(station)
                if not busy:
                    return
                events = poll.poll(TICK_S)
                for descriptor, _ in events:
                    station = busy.pop(descriptor)
                    poll.unregister(descriptor)
                    run = station.run
                    assert run is not None
                    try:
                        self._end(station)
                    except SandboxFault as fault:
                        self._failed(station, again, str(fault))
                    else:
                        if self._again(run):
                            again.append(run)
                        else:
                            yield run.index, _verdict(run)
                    idle.append(station)
                if not events:
                    self._look(busy)
        finally:
            poll.close()
            for station in busy.values():  # left early: whatever still runs is ended with its worker
                station.replace()

    @staticmethod
    def _next(waiting: Iterator[tuple[int, Assignment, str]]) -> Run | None:
        for index, assignment, source in waiting:
            return Run(index, assignment, source)
        return None

    def _begin(self, station: Station, run: Run) -> bool:
        station.run = run
        channel = station.channel = station.worker.ready.popleft()
        station.buffer.clear()
        station.pid = None
        station.began = station.test_began = time.monotonic()
        channel.settimeout(10)
        try:
            channel.sendall(_request(run, 2 * run.assignment.limits.seconds - run.used_s))
        except OSError:
            return False
        channel.setblocking(False)
        return True

    def _end(self, station: Station) -> None:
        """The student's process is gone, or has hung up: read what it said, reap it, clean up."""
        run, channel = station.run, station.channel
        assert run is not None and channel is not None
        self._read(station, last=True)
        channel.close()
        station.channel = station.run = None
        station.run = run
        station.worker.send(b"R")
        try:
            reply = station.worker.control.recv(64)
        except OSError as error:
            raise SandboxFault(f"a sandbox process does not answer: {error}") from error
        if not reply.startswith(b"R"):
            raise SandboxFault("a sandbox process is gone")
        status, cpu_s, is_clean = REAPED.unpack(reply[1:])
        run.cpu_s += cpu_s
        run.used_s += time.monotonic() - station.began
        if not run.finished:
            self._ended_early(run, status)
        station.run = None
        if not is_clean:
            station.replace()

    def _failed(self, station: Station, again: deque[Run], reason: str) -> None:
        run = station.run
        station.replace()
        if run is not None:
            run.attempts += 1
            if run.attempts >= ATTEMPTS:
                raise SandboxFault(f"{reason} ({ATTEMPTS} times in a row, assignment {run.assignment.name})")
            again.append(Run(run.index, run.assignment, run.source, attempts=run.attempts))

    def _look(self, busy: dict[int, Station]) -> None:
        """A quiet moment: read what the busy ones have to say, and end those over a limit."""
        now = time.monotonic()
        for station in busy.values():
            run = station.run
            assert run is not None
            if now - station.began < TICK_S:
                continue
            if self._read(station):
                station.test_began = now
            seconds = run.assignment.limits.seconds
            late = now - station.test_began > seconds or now - station.began > 2 * seconds - run.used_s
            if len(station.buffer) > MAX_ANSWER_BYTES:
                self._kill(station, Outcome.OUTPUT_LIMIT)
            elif late and self._is_late(station, now):
                self._kill(station, Outcome.TIMEOUT)
            elif _size(station.worker.scratch) > SCRATCH_BYTES:
                self._kill(station, Outcome.OUTPUT_LIMIT)

    @staticmethod
    def _is_late(station: Station, now: float) -> bool:
        """Whether the program is over its time even when what it spent waiting for a free core is not counted."""
        run = station.run
        assert run is not None
        seconds = run.assignment.limits.seconds
        elapsed = now - station.began
        if elapsed > STARVED_FACTOR * seconds:
            return True
        if station.pid is None:
            station.pid = station.worker.process_of_oldest()
        try:
            starved = int(Path(f"/proc/{station.pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            starved = 0.0
        return now - station.test_began - starved > seconds or elapsed - starved > 2 * seconds - run.used_s

    @staticmethod
    def _kill(station: Station, reason: Outcome) -> None:
        assert station.run is not None
        station.run.killed_for = reason
        if station.pid is None:
            station.pid = station.worker.process_of_oldest()
        with contextlib.suppress(ProcessLookupError):
            os.kill(station.pid, signal.SIGKILL)

    @staticmethod
    def _read(station: Station, last: bool = False) -> bool:
        """Take in what the student's process wrote; whether that settled a test."""
        run, channel = station.run, station.channel
        assert run is not None and channel is not None
        buffer = station.buffer
        while len(buffer) <= MAX_ANSWER_BYTES:
            try:
                data = channel.recv(262144)
            except OSError:  # nothing there, or the other end is gone
                break
            if not data:
                break
            buffer += data
        before = len(run.results), run.loaded
        *lines, rest = bytes(buffer).split(b"\n")
        buffer[:] = rest
        for line in lines:
            if run.finished or not _take(run, line):
                break
        return (len(run.results), run.loaded) != before

    @staticmethod
    def _ended_early(run: Run, status: int) -> None:
        """The process is gone before its last word: what that means for the test it was at."""
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if run.killed_for is not None:
            outcome = run.killed_for
        elif number == signal.SIGXCPU:
            outcome = Outcome.TIMEOUT
        elif number == signal.SIGKILL:
            outcome = Outcome.OUT_OF_MEMORY
        else:
            outcome = Outcome.ERROR
        if not run.compiled:
            run.refused = "its source is too deeply nested or too long"
        elif not run.missing:
            return
        else:
            test = run.assignment.tests[len(run.results)]
            subject = None if run.loaded or run.assignment.form == "stdio" else "your program"
            run.stopped = subject is not None
            run.results.append(judgement.ended(test, outcome, subject))

    @staticmethod
    def _again(run: Run) -> bool:
        """Whether a fresh process should go on with the tests that are left."""
        return (
            run.compiled
            and not run.finished
            and not run.stopped
            and run.missing > 0
            and run.used_s < 2 * run.assignment.limits.seconds
        )


def _take(run: Run, line: bytes) -> bool:
    """Enter one line of the student's process; False where it is not one that can stand there."""
    message = judgement.parse(line)
    if message is None:
        return False
    tag = message[0]
    if tag == "c" and not run.compiled:
        run.compiled = True
    elif tag == "n" and not run.compiled:
        error = judgement.error_message(message[1:])
        run.refused = judgement.describe(*error) if error else "SyntaxError"
        run.finished = True
    elif not run.compiled:
        return False
    elif tag == "l":
        run.loaded = True
    elif tag == "z":
        run.finished = not run.missing
    elif tag == "x" and run.missing:
        error = judgement.error_message(message[1:])
        if error is None:
            return False
        test = run.assignment.tests[len(run.results)]
        run.results.append(judgement.raised(test, *error, subject="your program"))
        run.stopped = run.finished = True
    elif run.missing and tag in ("v", "s", "e", "o"):
        result = judgement.judge(run.assignment, run.assignment.tests[len(run.results)], message)
        if result is None:
            return False
        run.results.append(result)
    elif tag != "c":
        return False
    return True


def _verdict(run: Run) -> Verdict:
    if run.refused:
        verdict = judgement.without_run(run.assignment, Status.DOES_NOT_COMPILE, run.refused)
        return Verdict(verdict.grade, verdict.status, verdict.tests, run.used_s, run.cpu_s)
    rest = run.assignment.tests[len(run.results) :]
    results = (*run.results, *(TestResult(test.name, Outcome.NOT_RUN) for test in rest))
    return Verdict(judgement.grade(run.assignment, results), Status.COMPILES, results, run.used_s, run.cpu_s)


def _size(folder: str) -> int:
    """Bytes used below a folder, a little more for each entry."""
    total = 0
    waiting = [folder]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    total += 4096 + entry.stat(follow_symlinks=False).st_size
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total

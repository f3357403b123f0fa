"""The supervisor: hands programs to workers and keeps the deadlines.

It runs in the thread that calls `Grader.grade`, without threads, signal handlers or an event loop of its own.
"""

import os
import select
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tutee_grader.assignment import Assignment
from tutee_grader.errors import SandboxError
from tutee_grader.run import Run
from tutee_grader.trial import Trial
from tutee_grader.verdict import Verdict
from tutee_grader.worker import Role, Worker

TICK_S = 0.02  # how often programs that take their time are looked at
ATTEMPTS = 3  # tries before a fault of the sandbox is given up on


@dataclass(slots=True)
class Job:
    """One program to be graded."""

    index: int
    assignment: Assignment
    source: str
    attempts: int = 0
    run: Run | Trial | None = None


class Station:
    """A place for one program at a time: a worker for students and, once one is needed, one for judges."""

    def __init__(self, bubblewrap: str | None, core: int | None) -> None:
        self._bubblewrap = bubblewrap
        self._core = core
        self._workers: dict[Role, Worker] = {}
        self._start("student")
        self.job: Job | None = None
        self.began = 0.0

    def worker(self, role: Role) -> Worker:
        """The worker of this role, started now if it is the first time."""
        if role not in self._workers:
            self._start(role).wait_until_ready()
        return self._workers[role]

    def _start(self, role: Role) -> Worker:
        self._workers[role] = Worker(role, self._bubblewrap, self._core)
        return self._workers[role]

    def workers(self) -> list[Worker]:
        """Those that stand."""
        return list(self._workers.values())

    def wait_until_ready(self) -> dict[str, Any]:
        """The protections in force. Raises UnavailableError."""
        self._workers["student"].wait_until_ready()
        return self._workers["student"].protections

    def replace(self, role: Role) -> None:
        """Let go of a worker that is not clean; the next use starts a fresh one."""
        self._workers.pop(role).close()

    def close(self) -> None:
        for role in list(self._workers):
            self.replace(role)


def _cores(workers: int) -> list[int | None]:
    """The core that each station keeps to, where there is one for every core of this machine.

    A child that starts on another core than its parent's, or moves, pays for every page anew; and a judge
    and the program it asks take turns, so on one core neither waits for the other to be woken.
    """
    cores = sorted(os.sched_getaffinity(0))
    if workers < len(cores):
        return [None] * workers
    return [cores[index % len(cores)] for index in range(workers)]


class Pool:
    """Workers, one per core, and the loop that keeps them busy."""

    def __init__(self, workers: int, bubblewrap: str | None) -> None:
        self.stations = [Station(bubblewrap, core) for core in _cores(workers)]
        try:
            self.protections, *_ = [station.wait_until_ready() for station in self.stations]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for station in self.stations:
            station.close()

    def grade(self, programs: Iterable[tuple[int, Assignment, str]]) -> Iterator[tuple[int, Verdict]]:
        """The verdict of each program, in the order in which they are done."""
        waiting = (Job(*program) for program in programs)
        again: deque[Job] = deque()
        idle = list(self.stations)
        busy: dict[int, Station] = {}  # by the descriptors that are waited for
        poll = select.epoll()
        looked = time.monotonic()
        try:
            while True:
                while idle and (job := again.popleft() if again else next(waiting, None)) is not None:
                    station = idle.pop()
                    if not self._begin(station, job, poll, busy):
                        self._failed(station, busy, again)
                        idle.append(station)
                if not busy:
                    return
                events = poll.poll(TICK_S)
                for descriptor, flags in events:
                    station = busy.get(descriptor)  # type: ignore[assignment]
                    if station is None:  # closed by an event before this one
                        continue
                    done = self._event(station, descriptor, flags, busy, again)
                    if done is not None:
                        yield done
                    if station.job is None:
                        idle.append(station)
                # By the clock, not in quiet moments only: others' events must not keep a program alive.
                if time.monotonic() - looked >= TICK_S:
                    looked = time.monotonic()
                    for station in set(busy.values()):
                        if not self._look(station, busy):
                            self._failed(station, busy, again)
                            idle.append(station)
        finally:
            poll.close()
            for station in set(busy.values()):  # left early: whatever still runs ends with its worker
                Pool._drop(station)

    @staticmethod
    def _begin(station: Station, job: Job, poll: select.epoll, busy: dict[int, Station]) -> bool:
        station.job = job
        station.began = time.monotonic()
        kind = Trial if job.assignment.test_source is not None else Run
        run = kind(job.assignment, job.source)
        job.run = None  # there is nothing to abandon before it has begun
        try:
            descriptors = run.begin(station, poll)
        except SandboxError:
            return False
        job.run = run
        busy |= dict.fromkeys(descriptors, station)
        return True

    def _event(
        self, station: Station, descriptor: int, flags: int, busy: dict[int, Station], again: deque[Job]
    ) -> tuple[int, Verdict] | None:
        """Let the run take note; its verdict when it is through."""
        job = station.job
        assert job is not None and job.run is not None
        try:
            descriptors = job.run.event(descriptor, flags)
        except SandboxError:
            self._failed(station, busy, again)
            return None
        for known in [known for known, other in busy.items() if other is station]:
            del busy[known]
        if descriptors is None:
            station.job = None
            return job.index, job.run.verdict()
        for known in descriptors:
            busy[known] = station
        return None

    @staticmethod
    def _look(station: Station, busy: dict[int, Station]) -> bool:
        now = time.monotonic()
        assert station.job is not None and station.job.run is not None
        if now - station.began < TICK_S:
            return True
        try:
            descriptors = station.job.run.look(now)
        except SandboxError:
            return False
        busy |= dict.fromkeys(descriptors, station)
        return True

    @staticmethod
    def _failed(station: Station, busy: dict[int, Station], again: deque[Job]) -> None:
        """The sandbox failed, not the program: fresh workers, and the program once more from the start."""
        for descriptor in [descriptor for descriptor, other in busy.items() if other is station]:
            del busy[descriptor]
        job = station.job
        assert job is not None
        Pool._drop(station)
        job.attempts += 1
        if job.attempts >= ATTEMPTS:
            raise SandboxError(
                f"the sandbox failed {ATTEMPTS} times in a row on a program for {job.assignment.name}; "
                "`tutee doctor --sandbox` says what works on this machine"
            )
        again.append(job)

    @staticmethod
    def _drop(station: Station) -> None:
        if station.job is not None and station.job.run is not None:
            station.job.run.abandon()
        station.job = None
        station.close()

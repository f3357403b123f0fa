"""The pool of workers: hands programs to them and enforces the deadlines.

It runs in the thread that calls `Grader.grade`, without threads, signal handlers or an event loop of its own.

What it does not protect from:
- Programs that use all their time: a program may take twice its assignment's `seconds`, on a busy machine ten
  times as long, and an instructor's test code 10 s of CPU time for each program.
- Side channels of the hardware between programs that run at the same time.
- A sandbox that fails again and again: after three tries on one program, grading stops with SandboxError.
"""

import os
import select
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tutee_grader.errors import SandboxError, UnavailableError
from tutee_grader.sandbox.clock import Clock
from tutee_grader.sandbox.comparer import Comparer
from tutee_grader.sandbox.instructor_runs import InstructorRun
from tutee_grader.sandbox.runs import Run
from tutee_grader.sandbox.worker import Role, Worker
from tutee_grader.verdict import Verdict

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment

TICK_S = 0.02  # how often programs under way are checked
ATTEMPTS = 3  # failures of the sandbox on one program before grading stops


@dataclass(slots=True)
class Job:
    """One program to be graded."""

    index: int
    assignment: "Assignment"
    source: str
    attempts: int = 0
    run: Run | InstructorRun | None = None


class Slot:
    """Runs one program at a time, by a worker for students and others from their first use on."""

    def __init__(self, bubblewrap: str | None, core: int | None) -> None:
        self._bubblewrap = bubblewrap
        self._core = core
        self._workers: dict[Role, Worker] = {}
        self._comparer: Comparer | None = None
        self._start("student")
        self.job: Job | None = None
        self.began = 0.0

    def worker(self, role: Role) -> Worker:
        """The worker of this role, started now if it is the first time."""
        if role not in self._workers:
            self._start(role)
            try:
                self._workers[role].wait_until_ready()
            except UnavailableError:
                self.replace(role)  # or the next use would take it for one that is ready
                raise
        return self._workers[role]

    def _start(self, role: Role) -> None:
        self._workers[role] = Worker(role, self._bubblewrap, self._core)

    @property
    def run(self) -> Run | InstructorRun:
        """The run of its job."""
        assert self.job is not None and self.job.run is not None
        return self.job.run

    def workers(self) -> list[Worker]:
        """Those that are started."""
        return list(self._workers.values())

    def wait_until_ready(self) -> dict[str, Any]:
        """The protections in force. Raises UnavailableError."""
        self._workers["student"].wait_until_ready()
        return self._workers["student"].protections

    def comparer(self) -> Comparer:
        """The comparer, started now if it is the first time."""
        if self._comparer is None:
            self._comparer = Comparer(self.worker("comparer"))
        return self._comparer

    def replace(self, role: Role) -> None:
        """End a worker that is not clean; the next use starts a fresh one."""
        if role == "comparer" and self._comparer is not None:
            self._comparer.close()
            self._comparer = None
        self._workers.pop(role).close()

    def close(self) -> None:
        """End the workers."""
        for role in list(self._workers):
            self.replace(role)


def _cores(workers: int) -> list[int | None]:
    """The core that each slot is bound to, where there is a slot for every core; else None.

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
        self._clock = Clock()
        self.slots: list[Slot] = []
        try:
            for core in _cores(workers):
                self.slots.append(Slot(bubblewrap, core))
            self.protections, *_ = [slot.wait_until_ready() for slot in self.slots]
        except BaseException:
            self.close()
            raise

    def workers(self) -> list[Worker]:
        """All workers that are started."""
        return [worker for slot in self.slots for worker in slot.workers()]

    def close(self) -> None:
        """End all workers."""
        for slot in self.slots:
            slot.close()

    def grade(self, programs: "Iterable[tuple[int, Assignment, str]]") -> Iterator[tuple[int, Verdict]]:
        """The verdict of each program, in the order in which they are done."""
        waiting = (Job(*program) for program in programs)
        again: deque[Job] = deque()
        idle = list(self.slots)
        busy: dict[int, Slot] = {}  # by the descriptors that are waited for
        poll = select.epoll()
        checked = self._clock.now()
        try:
            while True:
                while idle and (job := again.popleft() if again else next(waiting, None)) is not None:
                    slot = idle.pop()
                    try:
                        self._begin(slot, job, poll, busy)
                    except UnavailableError as error:
                        self._failed(slot, error, busy, again)
                        idle.append(slot)
                        break  # what runs elsewhere may have taken what it lacked, and is looked at first
                if not busy and not again:
                    return
                events = poll.poll(TICK_S)
                for descriptor, flags in events:
                    slot = busy.get(descriptor)  # type: ignore[assignment]
                    if slot is None:  # closed by an event before this one
                        continue
                    run, now = slot.run, self._clock.now()
                    done = self._step(slot, partial(run.event, descriptor, flags, now), busy, again)
                    if done is not None:
                        yield done
                    if slot.job is None:
                        idle.append(slot)
                # By the clock, not in quiet moments only: others' events must not keep a program alive.
                if self._clock.now() - checked >= TICK_S:
                    checked = self._clock.now()
                    for slot in set(busy.values()):
                        if checked - slot.began < TICK_S:
                            continue
                        done = self._step(slot, partial(slot.run.check, checked), busy, again)
                        if done is not None:
                            yield done
                        if slot.job is None:
                            idle.append(slot)
        finally:
            poll.close()
            for slot in set(busy.values()):  # left early: whatever still runs ends with its worker
                Pool._drop(slot)

    def _begin(self, slot: Slot, job: Job, poll: select.epoll, busy: dict[int, Slot]) -> None:
        slot.job = job
        kind = InstructorRun if job.assignment.test_source is not None else Run
        run = kind(job.assignment, job.source)
        job.run = None  # there is nothing to abandon before it begins
        slot.comparer()  # whose start, the first time, is no program's
        slot.began = self._clock.now()
        descriptors = run.begin(slot, poll, slot.began)
        job.run = run
        busy |= dict.fromkeys(descriptors, slot)

    def _step(
        self, slot: Slot, step: Callable[[], list[int] | None], busy: dict[int, Slot], again: deque[Job]
    ) -> tuple[int, Verdict] | None:
        """Let the slot's run do something; its verdict when it is done."""
        job = slot.job
        assert job is not None
        try:
            descriptors = step()
        except UnavailableError as error:
            self._failed(slot, error, busy, again)
            return None
        for known in [known for known, other in busy.items() if other is slot]:
            del busy[known]
        if descriptors is None:
            verdict = slot.run.verdict()
            slot.job = None
            return job.index, verdict
        for known in descriptors:
            busy[known] = slot
        return None

    @staticmethod
    def _failed(slot: Slot, error: UnavailableError, busy: dict[int, Slot], again: deque[Job]) -> None:
        """The sandbox failed, not the program: fresh workers, and the program once more from the start."""
        for descriptor in [descriptor for descriptor, other in busy.items() if other is slot]:
            del busy[descriptor]
        job = slot.job
        assert job is not None
        Pool._drop(slot)
        job.attempts += 1
        if job.attempts >= ATTEMPTS:
            raise SandboxError(
                f"the sandbox failed {ATTEMPTS} times in a row on a program for {job.assignment.name}: "
                f"{error}. `tutee doctor --sandbox` says what works on this machine"
            ) from error
        again.append(job)

    @staticmethod
    def _drop(slot: Slot) -> None:
        if slot.job is not None and slot.job.run is not None:
            slot.job.run.abandon()
        slot.job = None
        slot.close()

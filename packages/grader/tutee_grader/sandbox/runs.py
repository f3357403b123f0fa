"""The run of one program whose tests are inputs: its processes, its answers, its verdict."""

import marshal
import math
import select
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, cast

from tutee_grader.forms import scoring
from tutee_grader.sandbox.child import Child
from tutee_grader.sandbox.inside.zygote_messages import MAX_ANSWER_BYTES
from tutee_grader.sandbox.worker import Role, Worker
from tutee_grader.verdict import Outcome, Status, TestResult, Verdict

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment
    from tutee_grader.forms.scoring import InputTest, Mode

STARVED_FACTOR = 10  # on a busy machine, a program may take this many times its limit of wall time
SHORT_S = 0.1  # too short to ask the kernel how much of it was a wait for a core
INTERPRETER_BYTES = 96 << 20  # address space of the interpreter itself


class Workers(Protocol):
    """The workers that a run takes its processes from."""

    def worker(self, role: Role) -> Worker:
        """The worker of this role, started if need be."""

    def replace(self, role: Role) -> None:
        """End a worker that is not clean."""


class Budget:
    """The time of one program: one test may take `seconds`, the whole of it twice as long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.spent_s = 0.0
        self.hangs = 0  # tests that took all their time

    @property
    def left_s(self) -> float:
        return 2 * self.seconds - self.spent_s

    @property
    def is_spent(self) -> bool:
        # Two hangs end it by count: by the clock alone, a third test might just be begun, or not.
        return self.hangs >= 2 or self.left_s <= 0

    def spend(self, child: Child) -> None:
        """Charge the time of a child that has ended and is not reaped yet."""
        elapsed = time.monotonic() - child.began
        self.spent_s += elapsed if elapsed < SHORT_S else max(0.0, elapsed - child.starved_s())

    def is_over(self, child: Child, now: float, test_began: float) -> bool:
        """Whether the child is over its time, not counting what it spent waiting for a free core."""
        elapsed, at_test = now - child.began, now - test_began
        if at_test <= self.seconds and elapsed <= self.left_s:
            return False
        starved = child.starved_s()
        over = at_test - starved > self.seconds or elapsed - starved > self.left_s
        return over or elapsed > STARVED_FACTOR * self.seconds


class Run:
    """A program whose tests are inputs for the student's process and comparisons on this side."""

    def __init__(self, assignment: "Assignment", source: str) -> None:
        self.assignment = assignment
        self.tests = cast("tuple[InputTest, ...]", assignment.tests)
        self.mode = self.tests[0].mode
        self.source = source
        self.results: list[TestResult] = []
        self.budget = Budget(assignment.limits.seconds)
        self.cpu_s = 0.0
        self._refused = ""  # why it does not compile
        self._compiled = False
        self._loaded = False
        self._over = False
        self._killed_for: Outcome | None = None
        self._test_began = 0.0

    _child: Child

    def begin(self, workers: Workers, poll: select.epoll) -> list[int]:
        """Send the program to a student's process; the descriptors to wait for. Raises SandboxError."""
        self._workers = workers
        self._poll = poll
        return self._start()

    def _start(self) -> list[int]:
        prompts = not self.assignment.leniency.hide_prompts
        inputs = _inputs(self.assignment, len(self.results))
        request = student_request(self.mode, self.assignment, self.source, self.budget, prompts, inputs)
        self._loaded = False
        self._killed_for = None
        self._child = Child(self._workers.worker("student"), request)
        self._test_began = self._child.began
        # Its lines can wait in the channel until it hangs up, which saves a wake-up for each.
        self._poll.register(self._child.channel.fileno(), select.EPOLLRDHUP)
        return [self._child.channel.fileno()]

    def event(self, descriptor: int, flags: int) -> list[int] | None:
        """The process hung up: the descriptors of its successor, or None when the program is done."""
        child = self._child
        lines = child.recv_lines(MAX_ANSWER_BYTES)
        self._poll.unregister(descriptor)
        self.budget.spend(child)
        child.release()
        self._process(lines)  # judged here while the worker cleans up
        status, cpu_s, is_clean = child.reaped()
        self.cpu_s += cpu_s
        if not is_clean:
            self._workers.replace("student")
        if not self._over:
            self._ended_early(status)
        return None if self._over or self.budget.is_spent else self._start()

    def abandon(self) -> None:
        """Close the channel after a failure of the sandbox."""
        self._child.channel.close()

    def check(self, now: float) -> list[int]:
        """Read what is there and end the process when it is over a limit; the descriptors to wait for."""
        if self._read():
            self._test_began = now
        if len(self._child.buffer) > MAX_ANSWER_BYTES or self._child.worker.scratch_is_full():
            self._kill(Outcome.OUTPUT_LIMIT)
        elif self.budget.is_over(self._child, now, self._test_began):
            self._kill(Outcome.TIMEOUT)
        return [self._child.channel.fileno()]

    def verdict(self) -> Verdict:
        """The verdict, once `event` has returned None."""
        if self._refused:
            results = scoring.not_run(self.tests, self._refused)
            return Verdict(0.0, Status.DOES_NOT_COMPILE, results, self.budget.spent_s, self.cpu_s)
        rest = self.tests[len(self.results) :]
        results = (*self.results, *(TestResult(test.name, Outcome.NOT_RUN) for test in rest))
        grade = scoring.grade(self.tests, results)
        return Verdict(grade, Status.COMPILES, results, self.budget.spent_s, self.cpu_s)

    def _kill(self, reason: Outcome) -> None:
        self._killed_for = self._killed_for or reason
        self._child.kill()

    def _read(self) -> bool:
        """Process the lines that are there; whether that finished a test."""
        before = len(self.results), self._loaded
        self._process(self._child.recv_lines(MAX_ANSWER_BYTES))
        return (len(self.results), self._loaded) != before

    def _process(self, lines: list[bytes]) -> None:
        for line in lines:
            if self._over or not self._process_line(line):
                break

    def _process_line(self, line: bytes) -> bool:
        """Process one line of the student's process; False where no such line can come now."""
        message = scoring.parse(line)
        if message is None:
            return False
        tag = message[0]
        if not self._compiled:
            if tag == "n":
                self._refused = scoring.refusal(message)
                self._over = True
            self._compiled = tag == "c"
            return tag in ("n", "c")
        if len(self.results) == len(self.tests):
            self._over = True
            return False
        test = self.tests[len(self.results)]
        if tag == "x":
            error = scoring.error_message(message[1:])
            if error is None:
                return False
            self.results.append(scoring.raised(test, *error, subject="your program"))
            self._over = True
        elif tag == "l":
            self._loaded = True
        elif tag != "c":  # which a successor process writes again
            result = scoring.judge(test, message, self.assignment.leniency)
            if result is None:
                return False
            self.results.append(result)
            self._over = len(self.results) == len(self.tests)
        return True

    def _ended_early(self, status: int) -> None:
        """The process ended before its last answer: that is the result of the test it was at."""
        if not self._compiled:
            self._refused = "it is too large or too deeply nested"
            self._over = True
            return
        outcome = self._killed_for or scoring.outcome_of(status)
        self.budget.hangs += outcome is Outcome.TIMEOUT
        test = self.tests[len(self.results)]
        while_loading = self.mode == "calls" and not self._loaded
        self.results.append(scoring.ended(test, outcome, "your program" if while_loading else None))
        self._over = while_loading or len(self.results) == len(self.tests)


def student_request(
    mode: "Mode", assignment: "Assignment", source: str, budget: Budget, prompts: bool, inputs: bytes
) -> bytes:
    """The request to a student's process: a program, its limits and its inputs."""
    limits = assignment.limits
    return marshal.dumps(
        (
            mode,
            source,
            INTERPRETER_BYTES + (limits.memory_mb << 20),
            math.ceil(budget.left_s) + 1,
            limits.output_kb << 10,
            prompts,
            inputs,
        )
    )


@lru_cache(maxsize=256)
def _inputs(assignment: "Assignment", first: int) -> bytes:
    """The inputs of the tests from `first` on, for the student's process."""
    tests = cast("tuple[InputTest, ...]", assignment.tests)
    return marshal.dumps([test.inputs() for test in tests[first:]])

"""The run of one program whose tests are inputs: its processes, their answers, its verdict."""

import marshal
import math
import select
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, cast

from tutee_grader.forms import scoring
from tutee_grader.sandbox.child import Child
from tutee_grader.sandbox.clock import STARVED_FACTOR
from tutee_grader.sandbox.comparer import Comparer
from tutee_grader.sandbox.comparison import Comparison, Request
from tutee_grader.sandbox.inside.zygote_messages import MAX_ANSWER_BYTES
from tutee_grader.sandbox.worker import Role, Worker
from tutee_grader.verdict import Outcome, Status, TestResult, Verdict

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment
    from tutee_grader.forms.scoring import InputTest, Mode

WHOLE_PROGRAM = 2  # all tests of a program may take so many times the `seconds` of one
PART_AFTER_A_HANG = 0.25
MOST_THREADS = 200  # of a program: each takes memory of the kernel's, which no other limit counts
LONGEST_VALUES = 2 << 20  # bytes of the values of one test
OUTPUT_LIMIT = b'["o"]'  # what a student's process writes where its output is over the limit
LEFT_STATE = b'["t"]'  # and where it ends after a test, which may have left state behind
SHORT_S = 0.1  # too short to ask the kernel how much of it was a wait for a core
INTERPRETER_BYTES = 96 << 20  # address space of the interpreter itself


class Workers(Protocol):
    """The workers that a run takes its processes from."""

    def worker(self, role: Role) -> Worker:
        """The worker of this role, started if need be."""

    def replace(self, role: Role) -> None:
        """End a worker that is not clean."""

    def comparer(self) -> Comparer:
        """The comparer, started if need be."""


class Budget:
    """The time of one program: one test may take `seconds`, the whole of it twice as long.

    After a test that took all its time, those that follow may take a part of `seconds` each: most programs
    that loop for ever do so in several tests, and the second one ends them.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.spent_s = 0.0
        self.hangs = 0  # tests that took all their time

    @property
    def left_s(self) -> float:
        return WHOLE_PROGRAM * self.seconds - self.spent_s

    @property
    def test_s(self) -> float:
        """What the next test may take."""
        return self.seconds * (PART_AFTER_A_HANG if self.hangs else 1.0)

    @property
    def is_spent(self) -> bool:
        # Two hangs end it by count: by the clock alone, a third test might just be begun, or not.
        return self.hangs >= 2 or self.left_s <= 0

    def own_s(self, child: Child, now: float) -> float:
        """The time of a child that has ended and is not reaped yet, without its waits for a core."""
        elapsed = now - child.began
        return elapsed if elapsed < SHORT_S else max(0.0, elapsed - child.starved_s())

    def spend(self, own_s: float, cpu_s: float) -> bool:
        """Charge the time of a process, its own or the CPU time of all its threads; whether it was too much.

        It may have ended before anybody looked.
        """
        was_over = cpu_s > self.left_s
        self.spent_s += max(own_s, cpu_s)
        return was_over

    def is_over(self, child: Child, now: float, since: float, limit_s: float) -> bool:
        """Whether the child is over its time, or `limit_s` since `since`; waits for a core do not count.

        Those are of its first thread, and others of its own may be to blame: so CPU time counts, too.
        """
        elapsed, at_test = now - child.began, now - since
        if at_test <= limit_s and elapsed <= self.left_s:
            return False
        starved = child.starved_s()
        over = at_test - starved > limit_s or elapsed - starved > self.left_s
        return over or elapsed > STARVED_FACTOR * self.seconds or child.cpu_s() > self.left_s


class Run:
    """A program whose tests are inputs for the student's process; the comparer judges what comes back."""

    def __init__(self, assignment: "Assignment", source: str) -> None:
        self.assignment = assignment
        self.tests = cast("tuple[InputTest, ...]", assignment.tests)
        self.mode = self.tests[0].mode
        self.source = source
        self.budget = Budget(assignment.limits.seconds)
        self.cpu_s = 0.0
        self._longest_line = longest_answer(assignment)
        self._at = 0  # the test that the next answer belongs to
        self._ended: dict[int, TestResult] = {}  # results of tests at which the process ended
        self._refused = ""  # why it does not compile
        self._over = False  # whether no further process is needed
        self._killed_for: Outcome | None = None
        self._needs_another = False  # process for the next test
        self._test_began = 0.0

    _child: Child | None
    _comparison: Comparison

    def begin(self, workers: Workers, poll: select.epoll, now: float) -> list[int]:
        """Send the program to a student's process; the descriptors to wait for. Raises SandboxError."""
        self._workers = workers
        self._poll = poll
        self._comparison = Comparison(self.assignment, workers.comparer(), poll)
        return self._start(now)

    def _start(self, now: float) -> list[int]:
        prompts = not self.assignment.leniency.hide_prompts
        inputs = _inputs(self.assignment, self._at)
        request = student_request(self.mode, self.assignment, self.source, self.budget, prompts, inputs)
        # What its next line says: that it compiles, that it is loaded, the answer for a test.
        self._expects = ["c", "l"] if self.mode == "calls" else ["c"]
        self._killed_for = None
        self._needs_another = False
        self._first = self._at
        self._child = Child(self._workers.worker("student"), request, now)
        self._test_began = now
        # Its lines can wait in the channel until it hangs up, which saves a wake-up for each.
        self._poll.register(self._child.channel.fileno(), select.EPOLLRDHUP)
        return [self._child.channel.fileno()]

    def _waits_for(self) -> list[int] | None:
        """The descriptors to wait for, None when all is done."""
        if self._child is None:
            return None if self._comparison.is_done else self._comparison.descriptors
        return [self._child.channel.fileno(), *self._comparison.descriptors]

    def event(self, descriptor: int, flags: int, now: float) -> list[int] | None:
        """A process hung up or the comparer wrote: the descriptors to wait for, None at the end."""
        child = self._child
        if child is not None and descriptor == child.channel.fileno():
            self._poll.unregister(descriptor)
            self._process_ended(child, now)
        elif descriptor in self._comparison.descriptors:
            self._comparison.event(now)
        return self._waits_for()

    def _process_ended(self, child: Child, now: float) -> None:
        self._child = None
        own_s = self.budget.own_s(child, now)
        self._read(child, now)
        child.release()
        status, cpu_s, is_clean = child.reaped()
        if self.budget.spend(own_s, cpu_s):
            self._killed_for = self._killed_for or Outcome.TIMEOUT
        self.cpu_s += cpu_s
        if not is_clean:
            self._workers.replace("student")
        if not self._over and not (self._needs_another and self._killed_for is None):
            self._ended_early(status)
        if not self._over and not self.budget.is_spent:
            self._start(now)

    def abandon(self) -> None:
        """Close the channel after a failure of the sandbox."""
        self._comparison.abandon()
        if self._child is not None:
            self._child.channel.close()

    def check(self, now: float) -> list[int] | None:
        """Read what is there and end a process that is over a limit; returns what `event` does."""
        self._comparison.check(now)
        child = self._child
        if child is not None:
            if self._read(child, now):
                self._test_began = now
            # The first run of the program's own code in a process is no test's alone.
            limit_s = self.budget.seconds if len(self._expects) else self.budget.test_s
            # After its last answer it ends by itself, or has more to say than it is asked.
            if self._over or child.received > MAX_ANSWER_BYTES:
                self._kill(child, Outcome.OUTPUT_LIMIT)
            elif (reason := too_much(child)) is not None:
                self._kill(child, reason)
            elif self.budget.is_over(child, now, self._test_began, limit_s):
                self._kill(child, Outcome.TIMEOUT)
        return self._waits_for()

    def verdict(self) -> Verdict:
        """The verdict, once `event` has returned None."""
        spent = self.budget.spent_s, self.cpu_s
        if refused := self._refused or self._comparison.refused:
            return Verdict(0.0, Status.DOES_NOT_COMPILE, scoring.not_run(self.tests, refused), *spent)
        found = self._comparison.results | self._ended
        results = tuple(
            replace(found[index], name=test.name)
            if index in found
            else TestResult(test.name, Outcome.NOT_RUN)
            for index, test in enumerate(self.tests)
        )
        return Verdict(scoring.grade(self.tests, results), Status.COMPILES, results, *spent)

    def _kill(self, child: Child, reason: Outcome) -> None:
        self._killed_for = self._killed_for or reason
        child.kill()

    def _read(self, child: Child, now: float) -> bool:
        """Take the lines that are there; whether there were any."""
        expected = len(self._expects) + len(self.tests) - self._at + 1  # one that says LEFT_STATE
        lines = child.recv_lines(MAX_ANSWER_BYTES, expected)
        if lines and not self._over:
            self._take(lines, now)
        return bool(lines)

    def _take(self, lines: list[bytes], now: float) -> None:
        """Hand the lines to the comparer, each with the test that it belongs to."""
        while self._expects and lines:
            line = lines.pop(0)
            expected = self._expects.pop(0)
            if line != b'["%s"]' % expected.encode():
                self._over = True
                self._comparison.add(
                    Request("refused" if expected == "c" else "stopped", self._at, [line]), now
                )
                return
        # Not without an answer, or it could be started again without end.
        if LEFT_STATE in lines and (lines[0] != LEFT_STATE or self._at > self._first):
            self._needs_another = True
            del lines[lines.index(LEFT_STATE) :]
        answers = [
            line if len(line) <= self._longest_line else OUTPUT_LIMIT
            for line in lines[: len(self.tests) - self._at]
        ]
        if answers:
            self._comparison.add(Request("tests", self._at, answers), now)
            self._at += len(answers)
            self._over = self._at == len(self.tests)

    def _ended_early(self, status: int) -> None:
        """The process ended before its last answer: that is the result of the test it was at."""
        if "c" in self._expects:
            self._refused = scoring.TOO_LARGE
            self._over = True
            return
        outcome = self._killed_for or scoring.outcome_of(status)
        self.budget.hangs += outcome is Outcome.TIMEOUT
        while_loading = bool(self._expects)
        subject = "your program" if while_loading else None
        self._ended[self._at] = scoring.ended(self.tests[self._at], outcome, subject)
        self._at += 1
        self._over = while_loading or self._at == len(self.tests)


def too_much(child: Child) -> Outcome | None:
    """The outcome of a program that has too many files or threads; None where it has not."""
    if child.worker.scratch_is_full():
        return Outcome.OUTPUT_LIMIT
    return Outcome.OUT_OF_MEMORY if child.threads() > MOST_THREADS else None


def longest_answer(assignment: "Assignment") -> int:
    """Bytes of one line of a student's process: the values of a test, or what a script may print."""
    # As JSON a character of the output takes up to six; values are capped by characters in any case.
    return LONGEST_VALUES + 6 * (assignment.limits.output_kb << 10)


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

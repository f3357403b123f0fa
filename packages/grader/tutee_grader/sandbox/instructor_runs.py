"""The run of one program that an instructor's own test code grades, in a judge's process of its own.

The judge asks and the student's process answers, on one channel between them; they share nothing else, no
memory and no file. The messages are JSON text, which the judge checks as it reads (inside/values.py). This
side starts and ends the processes and keeps their time.
"""

import marshal
import math
import select
from typing import TYPE_CHECKING

from tutee_grader.forms import scoring
from tutee_grader.forms.instructor import compile_tests, read_results, student_modules
from tutee_grader.sandbox.child import Child
from tutee_grader.sandbox.inside.values import parse
from tutee_grader.sandbox.inside.words import refusal
from tutee_grader.sandbox.inside.zygote_messages import MAX_ANSWER_BYTES
from tutee_grader.sandbox.runs import Budget, Workers, student_request
from tutee_grader.verdict import Outcome, Status, TestResult, Verdict

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment

JUDGE_SECONDS = 10.0  # CPU time of the instructor's code for one program
JUDGE_MEMORY = 1 << 30
PATIENCE_S = 0.02  # the judge reports an answer that takes longer, so that its time is limited
_NO_TESTS = marshal.dumps([])


class InstructorRun:
    """A program, the judge that asks, and the student's process that answers."""

    def __init__(self, assignment: "Assignment", source: str) -> None:
        self.assignment = assignment
        self.source = source
        self.budget = Budget(assignment.limits.seconds)
        self.cpu_s = 0.0
        self._student: Child | None = None
        self._slow_since = 0.0  # when the judge reported that an answer is slow; 0 where none is
        self._killed_for: Outcome | None = None
        self._refused = ""
        self._answer: list[object] | None = None

    def begin(self, workers: Workers, poll: select.epoll, now: float) -> list[int]:
        """Start the judge and the student's process; the descriptors to wait for. Raises SandboxError."""
        self._workers = workers
        self._began = now
        self._poll = poll
        source = self.assignment.test_source or ""
        names = [test.name for test in self.assignment.tests]
        request = marshal.dumps(
            (
                self.assignment.form,
                compile_tests(source),
                student_modules(source),
                names,
                JUDGE_MEMORY,
                math.ceil(JUDGE_SECONDS),
                self.assignment.max_score,
            )
        )
        self._judge = Child(workers.worker("judge"), request, now)
        # What it writes can wait in the channel until it hangs up, or until the next check.
        self._poll.register(self._judge.channel.fileno(), select.EPOLLRDHUP)
        self._start_student(now)
        return self._descriptors()

    def abandon(self) -> None:
        """Close the channels after a failure of the sandbox."""
        for child in (self._judge, self._student):
            if child is not None:
                child.channel.close()

    def _descriptors(self) -> list[int]:
        children = [self._judge] if self._student is None else [self._judge, self._student]
        return [child.channel.fileno() for child in children]

    def event(self, descriptor: int, flags: int, now: float) -> list[int] | None:
        """A process hung up or the judge wants another: the descriptors to wait for, None when it is done."""
        self._read(now)
        if self._student is not None and descriptor == self._student.channel.fileno():
            self._reap_student(now)
        elif descriptor == self._judge.channel.fileno() and flags & (select.EPOLLRDHUP | select.EPOLLHUP):
            self._close(now)
            return None
        return self._descriptors()

    def _read(self, now: float) -> None:
        """Process what the judge has written."""
        for line in self._judge.recv_lines(MAX_ANSWER_BYTES):
            if line == b"s":
                self._slow_since = now
            elif line == b"f":
                self._slow_since = 0.0
            elif line == b"r":
                self._start_student(now)
            elif line == b"o" and self._student is not None:
                self._kill(self._student, Outcome.OUTPUT_LIMIT)
            elif line.startswith(b"d"):
                self._answer = parse(line[1:])
            elif (message := parse(line)) is not None and message[0] == "n":
                self._refused = refusal(message[1:])

    def _start_student(self, now: float) -> None:
        if self.budget.is_spent:
            self._judge.send(str(Outcome.TIMEOUT).encode())
            return
        request = student_request("serve", self.assignment, self.source, self.budget, False, _NO_TESTS)
        self._killed_for = None
        self._student = Child(self._workers.worker("student"), request, now)
        self._poll.register(self._student.channel.fileno(), select.EPOLLRDHUP)
        self._student.pass_channel(self._judge, PATIENCE_S)

    def _reap_student(self, now: float) -> None:
        child, self._student = self._student, None
        assert child is not None
        self._poll.unregister(child.channel.fileno())
        self.budget.spend(child, now)
        status, cpu_s, is_clean = child.finish()
        self.cpu_s += cpu_s
        if not is_clean:
            self._workers.replace("student")
        self._slow_since = 0.0
        if self._answer is None:
            ended = self._killed_for or scoring.outcome_of(status)
            self.budget.hangs += ended is Outcome.TIMEOUT
            self._judge.send(str(ended).encode())
            # It may ask for another one.
            self._poll.modify(self._judge.channel.fileno(), select.EPOLLIN | select.EPOLLRDHUP)

    def _close(self, now: float) -> None:
        if self._student is not None:
            self._reap_student(now)
        self._poll.unregister(self._judge.channel.fileno())
        _, _, is_clean = self._judge.finish()
        if not is_clean:
            self._workers.replace("judge")

    def check(self, now: float) -> list[int]:
        """End the student's process when it is over a limit, and a judge that runs for ever; the descriptors
        to wait for."""
        self._read(now)
        child = self._student
        if child is not None and child.worker.scratch_is_full():
            self._kill(child, Outcome.OUTPUT_LIMIT)
        elif child is not None and self.budget.is_over(
            child, now, self._slow_since or now, self.budget.test_s
        ):
            self._kill(child, Outcome.TIMEOUT)
        elif now - self._began > 10 * (JUDGE_SECONDS + self.budget.seconds):
            self._judge.kill()
        return self._descriptors()

    def _kill(self, child: Child, reason: Outcome) -> None:
        self._killed_for = self._killed_for or reason
        child.kill()

    def verdict(self) -> Verdict:
        """The verdict, once `event` has returned None. A judge that ends early leaves every test an error."""
        tests = self.assignment.tests
        spent = self.budget.spent_s, self.cpu_s
        if self._refused:
            return Verdict(0.0, Status.DOES_NOT_COMPILE, scoring.not_run(tests, self._refused), *spent)
        found = read_results(self._answer, tests)
        if found is None:
            reason = "the instructor's tests ended early on this program"
            found = None, tuple(TestResult(test.name, Outcome.ERROR, reason) for test in tests)
        score, results = found
        grade = scoring.grade(tests, results) if score is None else score
        return Verdict(grade, Status.COMPILES, results, *spent)

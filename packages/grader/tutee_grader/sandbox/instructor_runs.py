"""The run of one program that an instructor's own test code grades, in a judge's process of its own.

The judge asks and the student's process answers, on one channel between them; they share nothing else, no
memory and no file. The messages are JSON text, which the judge checks as it reads (inside/values.py). This
side starts and ends the processes and keeps their time: the judge says for how long its questions were open,
which is the program's time; how long the tests think, and when this side reads, is not.
"""

import marshal
import math
import select
import time
from typing import TYPE_CHECKING

from tutee_grader.forms import scoring
from tutee_grader.forms.instructor import compile_tests, read_result, star_names, student_modules
from tutee_grader.sandbox.child import Child
from tutee_grader.sandbox.clock import STARVED_FACTOR
from tutee_grader.sandbox.inside.values import parse
from tutee_grader.sandbox.inside.words import refusal
from tutee_grader.sandbox.inside.zygote_messages import PATIENCE_S
from tutee_grader.sandbox.runs import SHORT_S, Budget, Workers, longest_answer, student_request, too_much
from tutee_grader.verdict import Outcome, Status, TestResult, Verdict

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment

JUDGE_SECONDS = 10.0  # CPU time of the instructor's code for one program
LATER_SECONDS = 3.0  # of each further judge, which runs the tests after one at which a judge ended
JUDGES = 3  # for one program
JUDGE_MEMORY = 1 << 30
MAX_REPORT_BYTES = 1 << 16  # of one line of the judge's
MANY_REPORTS = 1000  # that are processed at a time
_ENDED_EARLY = "the instructor's tests ended early on this program"
_NO_TESTS = marshal.dumps([])


class InstructorRun:
    """A program, the judge that asks, and the student's process that answers."""

    def __init__(self, assignment: "Assignment", source: str) -> None:
        self.assignment = assignment
        self.source = source
        self.budget = Budget(assignment.limits.seconds)
        self.cpu_s = 0.0
        self._tests = {test.name: test for test in assignment.tests}
        self._results: dict[str, TestResult] = {}
        self._share: float | None = None  # the grade, where the tests give one
        self._names: list[str] = []  # of the tests that the judge runs
        self._at: str | None = None  # the test at which the judge is
        self._judges = 0
        self._student: Child | None = None
        self._killed_for: Outcome | None = None
        self._refused = ""

    _judge: Child

    def begin(self, workers: Workers, poll: select.epoll, now: float) -> list[int]:
        """Start the judge and the student's process; the descriptors to wait for. Raises SandboxError."""
        self._workers = workers
        self._began = now
        self._poll = poll
        return self._start_judge(now)

    def _start_judge(self, now: float) -> list[int]:
        """A judge for the tests that have no result yet."""
        self._names = [name for name in self._tests if name not in self._results]
        self._at = None
        self._judges += 1
        source = self.assignment.test_source or ""
        hidden = star_names(source, self.assignment.solution)
        request = marshal.dumps(
            (
                self.assignment.form,
                compile_tests(source),
                student_modules(source),
                (hidden.own, hidden.stars, hidden.meant),
                self._names,
                JUDGE_MEMORY,
                math.ceil(JUDGE_SECONDS if self._judges == 1 else LATER_SECONDS),
                longest_answer(self.assignment),
                self.assignment.max_score,
            )
        )
        self._judge = Child(self._workers.worker("judge"), request, now)
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
            return self._start_judge(now) if self._may_go_on() else None
        return self._descriptors()

    def _read(self, now: float) -> bool:
        """Process what the judge has written; whether there was anything."""
        lines = self._judge.recv_lines(MAX_REPORT_BYTES, MANY_REPORTS)
        for line in lines:
            self._process(line[:1], line[1:], now)
        if not lines and len(self._judge.buffer) > MAX_REPORT_BYTES:
            self._judge.kill()
        return bool(lines)

    def _process(self, kind: bytes, rest: bytes, now: float) -> None:
        if kind == b"w":
            self._process_times(rest)
        elif kind == b"r":
            self._start_student(now)
        elif kind in (b"o", b"x") and self._student is not None:
            self._kill(self._student, Outcome.OUTPUT_LIMIT if kind == b"o" else Outcome.ERROR)
        elif kind == b"b" and rest.isdigit() and int(rest) < len(self._names):
            self._at = self._names[int(rest)]
        elif kind == b"t":
            found = read_result(rest, self._tests)
            if found is None:
                self._judge.kill()
            else:
                self._results.setdefault(found[0].name, found[0])
                self._share = found[1] if self._share is None else self._share
        elif kind == b"[" and (message := parse(kind + rest)) is not None and message[0] == "n":
            self._refused = refusal(message[1:])

    def _process_times(self, rest: bytes) -> None:
        """What the judge waited for this student's process, and when it asked what is still open."""
        waited, _, opened = rest.partition(b" ")
        if waited.isdigit() and opened.isdigit():
            self._waited_s, self._opened_s = int(waited) / 1e6, int(opened) / 1e6

    def _start_student(self, now: float) -> None:
        if self._student is not None:
            return
        if self.budget.is_spent:
            self._judge.send(str(Outcome.TIMEOUT).encode())
            return
        request = student_request("serve", self.assignment, self.source, self.budget, False, _NO_TESTS)
        self._killed_for = None
        self._waited_s = self._opened_s = 0.0
        self._student = Child(self._workers.worker("student"), request, now)
        self._poll.register(self._student.channel.fileno(), select.EPOLLRDHUP)
        self._student.pass_channel(self._judge, PATIENCE_S)

    def _reap_student(self, now: float) -> None:
        child, self._student = self._student, None
        assert child is not None
        self._poll.unregister(child.channel.fileno())
        waited = self._waited()
        if waited >= SHORT_S:
            waited -= self._starved_s(child)
        status, cpu_s, is_clean = child.finish()
        if self.budget.spend(waited, cpu_s):
            self._killed_for = self._killed_for or Outcome.TIMEOUT
        self.cpu_s += cpu_s
        if not is_clean:
            self._workers.replace("student")
        ended = self._killed_for or scoring.outcome_of(status)
        self.budget.hangs += ended is Outcome.TIMEOUT
        self._judge.send(str(ended).encode())
        # It may ask for another one.
        self._poll.modify(self._judge.channel.fileno(), select.EPOLLIN | select.EPOLLRDHUP)

    def _close(self, now: float) -> None:
        while self._read(now):  # it has hung up, so there is an end
            pass
        if self._student is not None:
            self._reap_student(now)
        self._poll.unregister(self._judge.channel.fileno())
        _, _, is_clean = self._judge.finish()
        if not is_clean:
            self._workers.replace("judge")

    def _may_go_on(self) -> bool:
        """After the end of a judge: it ended at one test, whose result that is, and others have none."""
        if self._refused or self._at is None or self._at in self._results:
            return False
        self._results[self._at] = TestResult(self._at, Outcome.ERROR, f"{self._at}: {_ENDED_EARLY}")
        return self._judges < JUDGES and len(self._results) < len(self._tests)

    def check(self, now: float) -> list[int]:
        """End the student's process when it is over a limit, and a judge that runs for ever; the descriptors
        to wait for."""
        self._read(now)
        child = self._student
        if child is not None and (reason := too_much(child)) is not None:
            self._kill(child, reason)
        elif child is not None and self._is_over(child, now):
            self._kill(child, Outcome.TIMEOUT)
        elif now - self._began > 10 * (JUDGE_SECONDS + self.budget.seconds):
            self._judge.kill()
        return self._descriptors()

    def _at_question(self) -> float:
        """Seconds since the question that is open was asked, by the judge's clock, which is the system's."""
        return time.monotonic() - self._opened_s if self._opened_s else 0.0

    def _waited(self) -> float:
        """Seconds for which questions to this student's process were open."""
        return self._waited_s + self._at_question()

    def _starved_s(self, child: Child) -> float:
        """What the judge waited while one of the two was ready to run and no core was free."""
        return child.starved_s() + self._judge.starved_s()

    def _is_over(self, child: Child, now: float) -> bool:
        """Whether the program is over its time: a question may take that of a test, all of them what is left.

        CPU time counts as well: a thread of the program may work while no question is open.
        """
        left_s = self.budget.left_s
        limit_s, at_question, waited = self.budget.test_s, self._at_question(), self._waited()
        if at_question <= limit_s and waited <= left_s:
            return now - child.began > left_s and child.cpu_s() > left_s
        starved = self._starved_s(child)
        over = at_question - starved > limit_s or waited - starved > left_s
        return over or waited > STARVED_FACTOR * self.budget.seconds or child.cpu_s() > left_s

    def _kill(self, child: Child, reason: Outcome) -> None:
        self._killed_for = self._killed_for or reason
        child.kill()

    def verdict(self) -> Verdict:
        """The verdict, once `event` has returned None. Tests without a result are errors."""
        tests = self.assignment.tests
        spent = self.budget.spent_s, self.cpu_s
        if self._refused:
            return Verdict(0.0, Status.DOES_NOT_COMPILE, scoring.not_run(tests, self._refused), *spent)
        early = [TestResult(test.name, Outcome.ERROR, _ENDED_EARLY) for test in tests]
        results = tuple(self._results.get(result.name, result) for result in early)
        grade = scoring.grade(tests, results) if self._share is None else self._share
        return Verdict(grade, Status.COMPILES, results, *spent)

"""One program graded by an instructor's own test code, in a judge's process that never meets the student's.

The judge asks and the student's process answers, on one channel between them; they share nothing else, no
memory and no file. What crosses is JSON text, checked by the judge's reader (inside/values.py). This side
starts and ends the processes and keeps their time.
"""

import marshal
import math
import select
import time

from tutee_grader import judgement
from tutee_grader.assignment import Assignment, Test
from tutee_grader.inside.zygote_messages import MAX_ANSWER_BYTES
from tutee_grader.instructors import compile_tests, student_modules
from tutee_grader.run import Budget, Workers, student_request
from tutee_grader.verdict import Outcome, Status, TestResult, Verdict
from tutee_grader.worker import Child

JUDGE_SECONDS = 10.0  # CPU time of the instructor's code for one program
JUDGE_MEMORY = 1 << 30
MAX_MESSAGE = 300
PATIENCE_S = 0.02  # a question that takes longer is one whose time is watched
_NO_TESTS = marshal.dumps([])


class Trial:
    """A program, the judge that asks, and the student's process that answers."""

    def __init__(self, assignment: Assignment, source: str) -> None:
        self.assignment = assignment
        self.source = source
        self.budget = Budget(assignment.limits.seconds)
        self.cpu_s = 0.0
        self._student: Child | None = None
        self._asked = 0.0  # when the question now open was found slow; 0 where there is none
        self._began = time.monotonic()
        self._killed_for: Outcome | None = None
        self._refused = ""
        self._answer: list[object] | None = None

    def begin(self, workers: Workers, poll: select.epoll) -> list[int]:
        """Start the judge and the student's process."""
        self._workers = workers
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
        self._judge = Child(workers.worker("judge"), request)
        # What it writes can wait in the channel until it hangs up, or until this side looks.
        self._poll.register(self._judge.channel.fileno(), select.EPOLLRDHUP)
        self._start_student()
        return self._descriptors()

    def abandon(self) -> None:
        for child in (self._judge, self._student):
            if child is not None:
                child.channel.close()

    def _descriptors(self) -> list[int]:
        children = [self._judge] if self._student is None else [self._judge, self._student]
        return [child.channel.fileno() for child in children]

    def event(self, descriptor: int, flags: int) -> list[int] | None:
        """Take note that a process hung up or that the judge wants another; None when it is through."""
        self._listen()
        if self._student is not None and descriptor == self._student.channel.fileno():
            self._bury_student()
        elif descriptor == self._judge.channel.fileno() and flags & (select.EPOLLRDHUP | select.EPOLLHUP):
            self._close()
            return None
        return self._descriptors()

    def _listen(self) -> None:
        """Take in what the judge wrote."""
        for line in self._judge.hear(MAX_ANSWER_BYTES):
            if line == b"s":
                self._asked = time.monotonic()
            elif line == b"f":
                self._asked = 0.0
            elif line == b"r":
                self._start_student()
            elif line == b"o" and self._student is not None:
                self._kill(self._student, Outcome.OUTPUT_LIMIT)
            elif line.startswith(b"d"):
                self._answer = judgement.parse(line[1:])
            elif (message := judgement.parse(line)) is not None and message[0] == "n":
                self._refused = judgement.refusal(message)

    def _start_student(self) -> None:
        if self.budget.is_spent:
            self._judge.tell(str(Outcome.TIMEOUT).encode())
            return
        request = student_request("serve", self.assignment, self.source, self.budget, False, _NO_TESTS)
        self._killed_for = None
        self._student = Child(self._workers.worker("student"), request)
        self._poll.register(self._student.channel.fileno(), select.EPOLLRDHUP)
        self._student.lend(self._judge, PATIENCE_S)

    def _bury_student(self) -> None:
        child, self._student = self._student, None
        assert child is not None
        self._poll.unregister(child.channel.fileno())
        self.budget.spend(child)
        status, cpu_s, is_clean = child.finish()
        self.cpu_s += cpu_s
        if not is_clean:
            self._workers.replace("student")
        self._asked = 0.0
        if self._answer is None:
            ended = self._killed_for or judgement.outcome_of(status)
            self.budget.hangs += ended is Outcome.TIMEOUT
            self._judge.tell(str(ended).encode())
            # It may ask for another one.
            self._poll.modify(self._judge.channel.fileno(), select.EPOLLIN | select.EPOLLRDHUP)

    def _close(self) -> None:
        if self._student is not None:
            self._bury_student()
        self._poll.unregister(self._judge.channel.fileno())
        _, _, is_clean = self._judge.finish()
        if not is_clean:
            self._workers.replace("judge")

    def look(self, now: float) -> list[int]:
        """End the student's process when it is over a limit, and a judge that never comes to an end; the
        descriptors to wait for."""
        self._listen()
        child = self._student
        if child is not None and child.worker.scratch_is_full():
            self._kill(child, Outcome.OUTPUT_LIMIT)
        elif child is not None and self.budget.is_over(child, now, self._asked or now):
            self._kill(child, Outcome.TIMEOUT)
        elif now - self._began > 10 * (JUDGE_SECONDS + self.budget.seconds):
            self._judge.kill()
        return self._descriptors()

    def _kill(self, child: Child, reason: Outcome) -> None:
        self._killed_for = self._killed_for or reason
        child.kill()

    def verdict(self) -> Verdict:
        """What the judge said. A judge that ended without a word leaves every test an error."""
        tests = self.assignment.tests
        spent = self.budget.spent_s, self.cpu_s
        if self._refused:
            return Verdict(0.0, Status.DOES_NOT_COMPILE, judgement.not_run(tests, self._refused), *spent)
        results = _results(self._answer, tests)
        if results is None:
            reason = "the instructor's tests ended early on this program"
            results = tuple(TestResult(test.name, Outcome.ERROR, reason) for test in tests)
        grade = judgement.grade(self.assignment, results)
        if self._answer is not None and isinstance(
            self._answer[1], float
        ):  # a score rather than tests passed
            grade = self._answer[1]
        return Verdict(grade, Status.COMPILES, results, *spent)


def _results(answer: list[object] | None, tests: tuple[Test, ...]) -> tuple[TestResult, ...] | None:
    """The judge's list of results, checked; None where there is none."""
    if answer is None or len(answer) != 3 or not isinstance(answer[2], list) or len(answer[2]) != len(tests):
        return None
    results = []
    for test, (name, word, message, exception, line) in zip(tests, answer[2], strict=True):
        outcome = Outcome(word)
        if name != test.name:
            return None
        if outcome == Outcome.PASSED:
            results.append(TestResult(test.name, outcome))
        elif not message:
            results.append(judgement.ended(test, outcome))
        else:
            text = judgement.clean(message, MAX_MESSAGE)
            about = text if text.startswith("your program ") else f"{test.name}: {text}"
            results.append(TestResult(test.name, outcome, about, exception=exception, line=line))
    return tuple(results)

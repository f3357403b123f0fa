"""One program of the forms calls, asserts and stdio under way: its processes, its answers, its verdict."""

import ast
import marshal
import math
import select
import time
from functools import lru_cache
from typing import Protocol

from tutee_grader import judgement
from tutee_grader.assignment import Assignment, CallTest, ClauseTest, ScriptTest
from tutee_grader.inside.zygote_messages import MAX_ANSWER_BYTES
from tutee_grader.verdict import Outcome, Status, TestResult, Verdict
from tutee_grader.worker import Child, Role, Worker

STARVED_FACTOR = 10  # on a busy machine, a program may take this many times its limit of wall time
SHORT_S = 0.1  # too short to ask how much of it was spent waiting for a core
INTERPRETER_BYTES = 96 << 20  # address space of the interpreter itself


class Workers(Protocol):
    """Where a run gets its processes from."""

    def worker(self, role: Role) -> Worker: ...

    def replace(self, role: Role) -> None: ...


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
    """A program whose tests are inputs for the student's process and a comparison here."""

    def __init__(self, assignment: Assignment, source: str) -> None:
        self.assignment = assignment
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
        """Send the program to a student's process; the descriptors to wait for."""
        self._workers = workers
        self._poll = poll
        return self._start()

    def _start(self) -> list[int]:
        form = "stdio" if self.assignment.form == "stdio" else "calls"
        prompts = not self.assignment.leniency.hide_prompts
        inputs = _inputs(self.assignment, len(self.results))
        request = student_request(form, self.assignment, self.source, self.budget, prompts, inputs)
        self._loaded = False
        self._killed_for = None
        self._child = Child(self._workers.worker("student"), request)
        self._test_began = self._child.began
        # Its lines can wait in the channel until it hangs up, which saves a wake-up for each.
        self._poll.register(self._child.channel.fileno(), select.EPOLLRDHUP)
        return [self._child.channel.fileno()]

    def event(self, descriptor: int, flags: int) -> list[int] | None:
        """The process hung up. The descriptors of its successor, or None when the program is through."""
        child = self._child
        lines = child.hear(MAX_ANSWER_BYTES)
        self._poll.unregister(descriptor)
        self.budget.spend(child)
        child.release()
        self._take_all(lines)  # judged here while the worker tidies up
        status, cpu_s, is_clean = child.reaped()
        self.cpu_s += cpu_s
        if not is_clean:
            self._workers.replace("student")
        if not self._over:
            self._ended_early(status)
        return None if self._over or self.budget.is_spent else self._start()

    def abandon(self) -> None:
        """The sandbox failed under it."""
        self._child.channel.close()

    def look(self, now: float) -> list[int]:
        """Take in what there is, and end the process when it is over a limit; the descriptors to wait for."""
        if self._read():
            self._test_began = now
        if len(self._child.buffer) > MAX_ANSWER_BYTES or self._child.worker.scratch_is_full():
            self._kill(Outcome.OUTPUT_LIMIT)
        elif self.budget.is_over(self._child, now, self._test_began):
            self._kill(Outcome.TIMEOUT)
        return [self._child.channel.fileno()]

    def verdict(self) -> Verdict:
        """What came of it."""
        tests = self.assignment.tests
        if self._refused:
            results = judgement.not_run(tests, self._refused)
            return Verdict(0.0, Status.DOES_NOT_COMPILE, results, self.budget.spent_s, self.cpu_s)
        rest = tests[len(self.results) :]
        results = (*self.results, *(TestResult(test.name, Outcome.NOT_RUN) for test in rest))
        grade = judgement.grade(self.assignment, results)
        return Verdict(grade, Status.COMPILES, results, self.budget.spent_s, self.cpu_s)

    def _kill(self, reason: Outcome) -> None:
        self._killed_for = self._killed_for or reason
        self._child.kill()

    def _read(self) -> bool:
        """Take in the lines that have come; whether that settled a test."""
        before = len(self.results), self._loaded
        self._take_all(self._child.hear(MAX_ANSWER_BYTES))
        return (len(self.results), self._loaded) != before

    def _take_all(self, lines: list[bytes]) -> None:
        for line in lines:
            if self._over or not self._take(line):
                break

    def _take(self, line: bytes) -> bool:
        """Enter one line of the student's process; False where it is not one that can stand there."""
        message = judgement.parse(line)
        if message is None:
            return False
        tag = message[0]
        if not self._compiled:
            if tag == "n":
                self._refused = judgement.refusal(message)
                self._over = True
            self._compiled = tag == "c"
            return tag in ("n", "c")
        if len(self.results) == len(self.assignment.tests):
            self._over = True
            return False
        test = self.assignment.tests[len(self.results)]
        if tag == "x":
            error = judgement.error_message(message[1:])
            if error is None:
                return False
            self.results.append(judgement.raised(test, *error, subject="your program"))
            self._over = True
        elif tag == "l":
            self._loaded = True
        elif tag != "c":  # which a successor process says again
            result = judgement.judge(self.assignment, test, message)
            if result is None:
                return False
            self.results.append(result)
            self._over = len(self.results) == len(self.assignment.tests)
        return True

    def _ended_early(self, status: int) -> None:
        """The process is gone before its last word: what that means for the test it was at."""
        if not self._compiled:
            self._refused = "it is too large or too deeply nested"
            self._over = True
            return
        outcome = self._killed_for or judgement.outcome_of(status)
        self.budget.hangs += outcome is Outcome.TIMEOUT
        test = self.assignment.tests[len(self.results)]
        while_loading = self.assignment.form != "stdio" and not self._loaded
        self.results.append(judgement.ended(test, outcome, "your program" if while_loading else None))
        self._over = while_loading or len(self.results) == len(self.assignment.tests)


def student_request(
    form: str, assignment: Assignment, source: str, budget: Budget, prompts: bool, inputs: bytes
) -> bytes:
    """What a student's process is sent: a program, its limits, and what it is to be run on."""
    limits = assignment.limits
    return marshal.dumps(
        (
            form,
            source,
            INTERPRETER_BYTES + (limits.memory_mb << 20),
            math.ceil(budget.left_s) + 1,
            limits.output_kb << 10,
            prompts,
            inputs,
        )
    )


@lru_cache(maxsize=256)
def _inputs(assignment: Assignment, first: int) -> bytes:
    """The inputs of the tests from `first` on, as the student's process wants them; no expected value."""
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
    """A call as code objects: its leading statements, if it has any, and the expression that is its value."""
    tree = ast.parse(call)
    last = tree.body[-1]
    assert isinstance(last, ast.Expr)
    expression = compile(ast.Expression(last.value), "<test>", "eval", dont_inherit=True)
    if len(tree.body) == 1:
        return None, expression
    return compile(ast.Module(tree.body[:-1], []), "<test>", "exec", dont_inherit=True), expression

"""The comparer of a slot, seen from the caller's side: it judges the answers of students' processes.

Nothing that a student's process wrote is read on this side: lines go to the comparer as they came, and what
returns are results of a bounded size.
"""

import json
import marshal
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, cast

from tutee_grader.errors import SandboxError
from tutee_grader.sandbox.child import Child
from tutee_grader.sandbox.clock import STARVED_FACTOR
from tutee_grader.sandbox.worker import Worker
from tutee_grader.verdict import Outcome, TestResult

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment
    from tutee_grader.forms.scoring import InputTest

COMPARE_SECONDS = 0.5  # CPU time for one request
MAX_ROW_BYTES = 16 << 10
MANY_ASSIGNMENTS = 256  # that one process remembers

Kind = Literal["tests", "refused", "stopped"]


class Comparer:
    """One process after another: each serves until it is too slow, or ends."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._child: Child | None = None
        self._known: set[str] = set()
        self._sent_at = 0.0
        self._cpu_s = 0.0  # when the request was sent

    @property
    def descriptor(self) -> int:
        assert self._child is not None
        return self._child.channel.fileno()

    def send(self, assignment: "Assignment", kind: Kind, first: int, lines: list[bytes], now: float) -> None:
        """Send a request; it is not called again before the rows are there. Raises SandboxError."""
        key = assignment.fingerprint
        if len(self._known) > MANY_ASSIGNMENTS:
            self.end()
        tests = None if key in self._known else _expectations(assignment)
        request = marshal.dumps((key, tests, kind, first, lines))
        self._cpu_s = 0.0 if self._child is None else self._child.cpu_s()
        if self._child is None:
            self._child = Child(self.worker, request, now)
        elif not self._child.send(request):
            raise SandboxError("a comparer's process is gone")
        self._known.add(key)
        self._sent_at = now

    def rows(self, count: int) -> list[TestResult] | None:
        """The `count` results, without the tests' names, once all are there.

        Raises EOFError where the process ended instead.
        """
        assert self._child is not None
        lines = self._child.recv_lines(count * MAX_ROW_BYTES, 1)
        if not lines:
            if self._child.is_hung_up or len(self._child.buffer) > count * MAX_ROW_BYTES:
                raise EOFError
            return None
        return [TestResult("", Outcome(word), *rest) for word, *rest in json.loads(lines[0])]

    def is_over(self, now: float) -> bool:
        """Whether the process takes too long over its request."""
        elapsed = now - self._sent_at
        if self._child is None or elapsed <= COMPARE_SECONDS:
            return False
        used = self._child.cpu_s() - self._cpu_s
        return used > COMPARE_SECONDS or elapsed > STARVED_FACTOR * COMPARE_SECONDS

    def end(self) -> None:
        """End the process; the next request goes to a fresh one. Raises SandboxError."""
        child, self._child = self._child, None
        self._known.clear()
        if child is not None:
            child.finish()

    def close(self) -> None:
        """Close the channel of a comparer whose worker ends."""
        if self._child is not None:
            self._child.channel.close()
            self._child = None


@lru_cache(maxsize=256)
def _expectations(assignment: "Assignment") -> bytes:
    tests = cast("tuple[InputTest, ...]", assignment.tests)
    return marshal.dumps([test.expectation(assignment.leniency) for test in tests])

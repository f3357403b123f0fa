"""The comparisons of one program: its processes' answers go to the comparer, results come back.

The comparer takes many answers at once. Where it does not survive them it gets them one by one, and the
answer that ends it again is the result of its own test alone.
"""

import select
from collections import deque
from typing import TYPE_CHECKING

from tutee_grader.forms.scoring import TOO_LARGE, ended
from tutee_grader.sandbox.comparer import Comparer, Kind
from tutee_grader.verdict import Outcome, TestResult

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment

TRIES = 2  # of one answer at which the comparer ended, though in time
TOO_SLOW = 2  # answers that took the comparer all its time, after which the others are not compared


class Request:
    """Lines of one program's process, for the comparer."""

    def __init__(self, kind: Kind, first: int, lines: list[bytes], tries: int = 0) -> None:
        self.kind: Kind = kind
        self.first = first
        self.lines = lines
        self.tries = tries

    def single(self) -> "list[Request]":
        """The same, a request for each line, to find the one that the comparer does not survive."""
        return [Request(self.kind, self.first + index, [line]) for index, line in enumerate(self.lines)]


class Comparison:
    """The comparisons of one program: requests that wait, one at the comparer, and the results."""

    def __init__(self, assignment: "Assignment", comparer: Comparer, poll: select.epoll) -> None:
        self.assignment = assignment
        self.results: dict[int, TestResult] = {}
        self.refused = ""  # why the program does not compile
        self._comparer = comparer
        self._poll = poll
        self._waiting: deque[Request] = deque()
        self._sent: Request | None = None
        self._slow = 0  # requests that took too long

    @property
    def is_done(self) -> bool:
        return self._sent is None and not self._waiting

    @property
    def descriptors(self) -> list[int]:
        return [] if self._sent is None else [self._comparer.descriptor]

    def add(self, request: Request, now: float) -> None:
        """Have these lines judged. Raises SandboxError."""
        self._waiting.append(request)
        self._send(now)

    def _send(self, now: float) -> None:
        if self._sent is None and self._waiting:
            request = self._waiting.popleft()
            self._comparer.send(self.assignment, request.kind, request.first, request.lines, now)
            self._sent = request
            self._poll.register(self._comparer.descriptor, select.EPOLLIN)

    def event(self, now: float) -> None:
        """The comparer has written, or ended. Raises SandboxError."""
        request = self._sent
        assert request is not None
        try:
            rows = self._comparer.rows(len(request.lines))
        except EOFError:
            self._end_comparer()
            self._failed(request, now, died=True)
            return
        if rows is None:
            return
        self._poll.unregister(self._comparer.descriptor)
        self._sent = None
        self._take(request, rows)
        self._send(now)

    def check(self, now: float) -> None:
        """End a comparer that takes too long. Raises SandboxError."""
        request = self._sent
        if request is not None and self._comparer.is_over(now):
            self._end_comparer()
            self._failed(request, now, died=False)

    def abandon(self) -> None:
        """Forget what waits, after a failure of the sandbox."""
        self._waiting.clear()
        self._sent = None

    def _end_comparer(self) -> None:
        self._poll.unregister(self._comparer.descriptor)
        self._sent = None
        self._comparer.end()

    def _take(self, request: Request, rows: list[TestResult]) -> None:
        if request.kind == "refused":
            self.refused = rows[0].message
        else:
            self.results |= {request.first + index: row for index, row in enumerate(rows)}

    def _failed(self, request: Request, now: float, died: bool) -> None:
        """The comparer did not survive a request: line by line then, and only the line at fault fails."""
        self._slow += not died and len(request.lines) == 1
        if len(request.lines) > 1:
            self._waiting.extendleft(reversed(request.single()))
        elif died and request.tries + 1 < TRIES:
            self._waiting.appendleft(Request(request.kind, request.first, request.lines, request.tries + 1))
        else:
            self._give_up(request)
        while self._slow >= TOO_SLOW and self._waiting:
            self._give_up(self._waiting.popleft())
        self._send(now)

    def _give_up(self, request: Request) -> None:
        for index in range(request.first, request.first + len(request.lines)):
            if request.kind == "refused":
                self.refused = TOO_LARGE
            elif request.kind == "stopped":
                self.results[index] = ended(self.assignment.tests[index], Outcome.ERROR, "your program")
            else:
                self.results[index] = ended(self.assignment.tests[index], Outcome.FAILED)

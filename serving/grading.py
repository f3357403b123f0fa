"""Grades programs in the sandbox, a bounded number at once."""

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from tutee_grader.assignment import Assignment
from tutee_grader.grader import Grader
from tutee_grader.processes import usable_cores
from tutee_grader.verdict import Verdict

KEPT_VERDICTS = 4096


class Graders:
    """One sandboxed worker per usable core, each of which grades one program at a time.

    A program that takes all of its time holds up its own worker alone. The last verdicts are kept in memory:
    the steps of one student's work are asked for one after the other, each with all programs before. Raises
    UnavailableError where there is no sandbox.
    """

    def __init__(self) -> None:
        workers = usable_cores()
        self._graders = [Grader(workers=1) for _ in range(workers)]
        self._idle: SimpleQueue[Grader] = SimpleQueue()
        for grader in self._graders:
            self._idle.put(grader)
        self._threads = ThreadPoolExecutor(workers, "grading")
        self._kept: OrderedDict[tuple[str, str], Verdict] = OrderedDict()

    async def grade(self, assignment: Assignment, program: str) -> Verdict:
        """The verdict on a program; cancelled before its turn comes, it is not run."""
        key = assignment.fingerprint, program
        if key not in self._kept:
            loop = asyncio.get_running_loop()
            verdict = await loop.run_in_executor(self._threads, self._grade, assignment, program)
            self._kept[key] = verdict
            if len(self._kept) > KEPT_VERDICTS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def close(self) -> None:
        """Ends the workers."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for grader in self._graders:
            grader.close()

    def _grade(self, assignment: Assignment, program: str) -> Verdict:
        grader = self._idle.get()
        try:
            return grader.grade([(assignment, program)])[0]
        finally:
            self._idle.put(grader)

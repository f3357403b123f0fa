"""Grades programs in a thread of its own, while the engine writes others."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Self

import polars as pl

from tutee_grader.verdict import Verdict

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment
    from tutee_grader.grader import Grader

Known = Mapping[tuple[str, str], Verdict]  # by assignment and code


def known_verdicts(submissions: pl.DataFrame, verdicts: pl.DataFrame) -> dict[tuple[str, str], Verdict]:
    """The verdicts of the real submissions, by assignment and code."""
    rows = submissions.select("submission_id", "assignment", "code").join(verdicts, on="submission_id")
    return {(row["assignment"], row["code"]): Verdict.from_row(row) for row in rows.iter_rows(named=True)}


class BackgroundGrader:
    """Grades one batch at a time, of all programs that have come since the one before.

    A program with a verdict in `known` is not graded again.
    """

    def __init__(self, grader: "Grader", known: Known) -> None:
        self._grader, self._known = grader, known
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._waiting: list[tuple[int, Assignment, str]] = []
        self._batch: Future[list[tuple[int, Verdict]]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()

    def add(self, key: int, assignment: "Assignment", program: str) -> None:
        """Takes a program, which `key` names."""
        self._waiting.append((key, assignment, program))
        self._begin()

    def collect(self, wait: bool) -> list[tuple[int, Verdict]]:
        """The verdicts that there are by now; with `wait`, at least one where any program is left."""
        if self._batch is None or not (wait or self._batch.done()):
            return []
        verdicts = self._batch.result()
        self._batch = None
        self._begin()
        return verdicts

    def _begin(self) -> None:
        if self._batch is None and self._waiting:
            self._batch = self._thread.submit(self._grade, self._waiting)
            self._waiting = []

    def _grade(self, batch: list[tuple[int, "Assignment", str]]) -> list[tuple[int, Verdict]]:
        programs = {(assignment.name, program): assignment for _, assignment, program in batch}
        new = {key: assignment for key, assignment in programs.items() if key not in self._known}
        graded = self._grader.grade([(assignment, program) for (_, program), assignment in new.items()])
        verdicts = dict(zip(new, graded, strict=True))
        found = []
        for key, assignment, program in batch:
            place = (assignment.name, program)
            found.append((key, verdicts[place] if place in verdicts else self._known[place]))
        return found

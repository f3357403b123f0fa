"""A verdict: what the grader finds out about one program, and its forms as a row and as text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import polars as pl

# A verdict's columns in any table: `Verdict.to_row` writes them, `Verdict.from_row` reads them.
VERDICT_COLUMNS: dict[str, Any] = {
    "grade": pl.Float64,
    "status": pl.String,
    "tests": pl.List(pl.Struct({"name": pl.String, "outcome": pl.String, "message": pl.String})),
}
_COLUMNS: dict[str, Any] = {
    "submission_id": pl.String,
    **VERDICT_COLUMNS,
    "feedback": pl.String,
    "grader_version": pl.String,
    "protections": pl.String,
}
# One row per submission that was graded.
VERDICTS = pl.Schema(_COLUMNS)


class Status(StrEnum):
    """Whether the program could be run at all."""

    COMPILES = "compiles"
    DOES_NOT_COMPILE = "does not compile"
    NOT_TEXT = "is not text"
    TOO_LARGE = "is too large"


class Outcome(StrEnum):
    """How one test ended."""

    PASSED = "passed"
    FAILED = "failed"  # it ran, and the result is not the expected one
    ERROR = "error"  # it raised, or its process ended early
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out of memory"
    OUTPUT_LIMIT = "output limit"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test of one program. `message` is the part of a sentence that the feedback is made from."""

    __test__ = False  # pytest takes every class named Test* for one of its own

    name: str
    outcome: Outcome
    message: str = ""
    expected: str | None = None
    got: str | None = None
    exception: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The grade (0 to 100) of one program, and why.

    `wall_s` and `cpu_s` are seconds, measured outside the student's process.
    """

    grade: float
    status: Status
    tests: tuple[TestResult, ...]
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def to_row(self) -> dict[str, Any]:
        """The values of VERDICT_COLUMNS: all that feedback is made from."""
        tests = [{"name": t.name, "outcome": str(t.outcome), "message": t.message} for t in self.tests]
        return {"grade": self.grade, "status": str(self.status), "tests": tests}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The verdict in a row that has VERDICT_COLUMNS."""
        tests = tuple(TestResult(t["name"], Outcome(t["outcome"]), t["message"]) for t in row["tests"])
        return cls(row["grade"], Status(row["status"]), tests)

    def to_json(self) -> str:
        """The whole verdict as text, for the cache: also the fields that a row does not have."""
        tests = [[t.name, t.outcome, t.message, t.expected, t.got, t.exception, t.line] for t in self.tests]
        return json.dumps([self.grade, self.status, tests, self.wall_s, self.cpu_s])

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The verdict that `to_json` wrote."""
        grade, status, tests, wall_s, cpu_s = json.loads(text)
        results = tuple(TestResult(name, Outcome(outcome), *rest) for name, outcome, *rest in tests)
        return cls(grade, Status(status), results, wall_s, cpu_s)

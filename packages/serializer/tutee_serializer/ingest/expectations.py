"""Expectations about a course's tables, and what follows where one fails."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tutee_serializer.errors import ValidationError


@dataclass(frozen=True)
class Check:
    """One expectation and how it went; `samples` are a few of the rows that failed it."""

    suite: str
    expectation: str
    severity: str
    passed: bool
    observed: str
    samples: list[dict[str, Any]]

    def __str__(self) -> str:
        rows = "".join(f"\n    {row}" for row in self.samples)
        return f"{self.suite}: {self.expectation} ({self.severity}): {self.observed}{rows}"


def raise_errors(checks: Iterable[Check], where: str, see: str = "") -> None:
    """Raises ValidationError where a check of level error failed; `where` begins its words."""
    checks = list(checks)
    failed = [check for check in checks if not check.passed and check.severity == "error"]
    if failed:
        listed = "\n".join(str(check) for check in failed)
        raise ValidationError(f"{where}: {len(failed)} of {len(checks)} expectations failed{see}\n{listed}")

"""The dirt of real logs, in known amounts, so that what validation finds can be checked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from random import Random

from classroom import Row

# Each kind of dirt as a share of the log's trajectories; at least one of each.
SHARES = {
    "duplicate row": 0.012,
    "resubmission": 0.02,
    "blank code": 0.006,
    "foreign encoding": 0.004,
    "impossible score": 0.005,
    "clock skew": 0.006,
    "unknown assignment": 0.003,
}
UNKNOWN_ASSIGNMENT = "bonus_puzzle"


@dataclass(frozen=True)
class _Dirt:
    random: Random

    def duplicate_row(self, rows: list[Row]) -> list[Row]:
        """The same row twice."""
        at = self.random.randrange(len(rows))
        return [*rows[: at + 1], *rows[at:]]

    def resubmission(self, rows: list[Row]) -> list[Row]:
        """The same code once more, seconds later."""
        at = self.random.randrange(len(rows))
        return [*rows[: at + 1], self._later(rows[at]), *rows[at + 1 :]]

    def blank_code(self, rows: list[Row]) -> list[Row]:
        """Somebody pressed the button with nothing in the editor."""
        at = self.random.randrange(len(rows))
        blank = replace(self._later(rows[at]), code=self.random.choice(("", " ", "\n\n")), score=0.0)
        return [*rows[: at + 1], blank, *rows[at + 1 :]]

    def foreign_encoding(self, rows: list[Row]) -> list[Row]:
        """A comment in Latin-1 in a file of UTF-8."""
        at = self.random.randrange(len(rows))
        comment = self.random.choice(("# Lösung\n", "# première idée\n", "# por qué no?\n"))
        return _set(rows, at, replace(rows[at], code=comment + rows[at].code, encoding="latin-1"))

    def impossible_score(self, rows: list[Row]) -> list[Row]:
        at = self.random.randrange(len(rows))
        return _set(rows, at, replace(rows[at], score=self.random.choice((140.0, -5.0, 1000.0))))

    def clock_skew(self, rows: list[Row]) -> list[Row]:
        """The last row has a time before that of the attempt before it."""
        hours = timedelta(hours=self.random.randrange(1, 13))
        return _set(rows, -1, replace(rows[-1], submitted_at=rows[-2].submitted_at - hours))

    def unknown_assignment(self, rows: list[Row]) -> list[Row]:
        at = self.random.randrange(len(rows))
        return [*rows, replace(self._later(rows[at]), assignment=UNKNOWN_ASSIGNMENT, score=0.0)]

    def _later(self, row: Row) -> Row:
        return replace(row, submitted_at=row.submitted_at + timedelta(seconds=self.random.randrange(2, 20)))


def _set(rows: list[Row], at: int, row: Row) -> list[Row]:
    rows = list(rows)
    rows[at] = row
    return rows


def _resubmissions(rows: list[Row]) -> int:
    """Attempts with the code of the attempt before them, duplicate rows apart."""
    return sum(
        one != other and (one.code, one.assignment) == (other.code, other.assignment)
        for one, other in pairwise(rows)
    )


def soil(trajectories: list[list[Row]], random: Random) -> tuple[list[list[Row]], dict[str, int]]:
    """Puts dirt into a class's trajectories, one kind to a trajectory; returns them, and how much of each.

    Resubmissions of the same code that students make of themselves count as well.
    """
    makers: dict[str, Callable[[list[Row]], list[Row]]] = {
        kind: getattr(_Dirt(random), kind.replace(" ", "_")) for kind in SHARES
    }
    # A skewed clock needs an attempt before it.
    order = [index for index, rows in enumerate(trajectories) if len(rows) > 1]
    random.shuffle(order)
    soiled = list(trajectories)
    counts = {}
    for kind, share in SHARES.items():
        counts[kind] = max(1, int(share * len(trajectories)))
        for _ in range(counts[kind]):
            at = order.pop()
            soiled[at] = makers[kind](soiled[at])
    counts["resubmission"] = sum(_resubmissions(rows) for rows in soiled)
    return soiled, counts

"""Programs that may take the place of a student's own: how far they are from it, and which is best."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from tutee_evaluator.distance import token_distance
from tutee_evaluator.metrics.style import features
from tutee_evaluator.programs import edits


@dataclass(frozen=True)
class Candidate:
    """A program with its grade (0 to 100), compared with the student's own program.

    `tokens` and `lines` are the size of the change, `distance` is `token_distance`. `style` is the distance
    of the two in style, from 0 to 1: the mean of four differences, of the number of lines (over the larger
    one), of comments and of violations of PEP 8 per line (1 at most), and the share of new names.
    `names_kept` is the share of the names it defines that the student's own program defines, too. What is
    not known of one of the two, since it is not Python, is left out of the mean; `names_kept` is then None.
    """

    code: str
    grade: float
    tokens: int
    lines: int
    distance: float
    style: float
    names_kept: float | None

    @property
    def is_right(self) -> bool:
        """Whether it passes every test."""
        return self.grade == 100


def compared(own: str, code: str, grade: float) -> Candidate:
    """The program `code` as a candidate to take the place of `own`."""
    (edit,) = edits([(own, code)])
    kept = _names_kept(own, code)
    return Candidate(
        code,
        grade,
        edit.tokens,
        edit.lines,
        token_distance(own, code),
        _style_distance(own, code, kept),
        kept,
    )


def best(candidates: Iterable[Candidate]) -> Candidate:
    """The one with the highest grade; of those the nearest to the student's own program, then in style.

    Of equals the first in the order of the texts, so that it does not depend on the candidates' order.
    """
    return min(candidates, key=lambda one: (-one.grade, one.distance, one.style, one.code))


_features = lru_cache(maxsize=1024)(features)


def _names_kept(own: str, code: str) -> float | None:
    """None where one of the two does not parse; of a program that defines nothing, all."""
    known, defined = _features(own)["defined"], _features(code)["defined"]
    if known is None or defined is None:
        return None
    return len(set(defined) & set(known)) / len(defined) if defined else 1.0


def _style_distance(own: str, code: str, kept: float | None) -> float:
    mine, other = _features(own), _features(code)
    longer = max(mine["lines"], other["lines"])
    parts = [abs(mine["lines"] - other["lines"]) / longer if longer else 0.0]
    parts += [
        min(1.0, abs(mine[name] - other[name]))
        for name in ("comments", "pep8")
        if mine[name] is not None and other[name] is not None
    ]
    parts += [] if kept is None else [1 - kept]
    return sum(parts) / len(parts)

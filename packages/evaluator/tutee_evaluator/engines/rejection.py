"""Rejection sampling: what a model writes and students do not hand in is drawn again."""

from collections.abc import Iterable
from dataclasses import replace
from random import Random

from tutee_evaluator.engines import Completion, Engine, Request
from tutee_evaluator.programs import parse

# Of so many draws the last one stays, whatever it is.
DRAWS = 5


class Rejecting:
    """`student`, whose turns are drawn again where they hold no program or, mostly, where they break one.

    A program is broken that is not Python, where the one before it is. The share `kept` of such turns stays.
    At temperature 0 nothing is drawn again.
    """

    def __init__(self, student: Engine, kept: float) -> None:
        self.student, self.kept = student, kept
        self.format, self.feedback, self.batch = student.format, student.feedback, student.batch
        self._drawn: dict[int, tuple[Request, int]] = {}  # the present request, and how many draws that makes

    def add(self, key: int, request: Request) -> None:
        """Takes a request, which `key` names."""
        self._draw(key, request, 1)

    def collect(self) -> list[tuple[int, Completion]]:
        """Works until at least one request is done; returns those that are. Empty: there are none left."""
        done: list[tuple[int, Completion]] = []
        while not done and (collected := self.student.collect()):
            for key, completion in collected:
                request, draws = self._drawn.pop(key)
                if draws == DRAWS or request.temperature == 0 or accepts(request, completion, self.kept):
                    done.append((key, completion))
                else:
                    seed = Random(f"again {request.seed}").getrandbits(63)
                    self._draw(key, replace(request, seed=seed), draws + 1)
        return done

    def _draw(self, key: int, request: Request, draws: int) -> None:
        self._drawn[key] = request, draws
        self.student.add(key, request)


def accepts(request: Request, completion: Completion, kept: float) -> bool:
    """Whether a turn stays; of those that break a program the share `kept` does, by the request's seed."""
    if completion.program is None:
        return False
    if not breaks(request.dialog.previous, completion.program):
        return True
    return Random(f"kept {request.seed}").random() < kept


def breaks(previous: str | None, program: str) -> bool:
    """Whether `program` is not Python, where the one before it is."""
    return previous is not None and parse(program) is None and parse(previous) is not None


def share_kept(revisions: Iterable[tuple[str, str]], written: Iterable[tuple[str, str]]) -> float:
    """The share of a model's broken programs to keep, so that it breaks as many as students do.

    Of both sides the last program and the next one. Among students the share is taken by Laplace's rule of
    succession, so that what none of a few did is not impossible.
    """
    theirs, models = _broken(revisions), _broken(written)
    share = (sum(theirs) + 1) / (len(theirs) + 2)
    broken, sound = sum(models), len(models) - sum(models)
    # Of what is left of the model's programs, kept * broken are broken: as large a share as the students'.
    return min(1.0, share / (1 - share) * sound / broken) if broken else 1.0


def _broken(changes: Iterable[tuple[str, str]]) -> list[bool]:
    """Of the programs that can be broken, whether they were."""
    return [breaks(previous, program) for previous, program in changes if parse(previous) is not None]

"""Rejection sampling: what a model writes and students do not hand in is drawn again."""

from collections.abc import Iterable
from dataclasses import replace
from random import Random

from tutee_evaluator.engines import Completion, Request, SteppingEngine
from tutee_serializer.programs import parse

# Of so many draws the last one stays, whatever it is.
DRAWS = 5


class RejectionSampler:
    """`student`, whose turns are drawn again where they hold no program or, mostly, break the syntax.

    That is, their program does not parse though the last one did. Of such turns `acceptance` is the share
    that stays. At temperature 0 nothing is drawn again.
    """

    def __init__(self, student: SteppingEngine, acceptance: float) -> None:
        self.student, self.acceptance = student, acceptance
        self.format, self.feedback, self.batch = student.format, student.feedback, student.batch
        self._drawn: dict[int, tuple[Request, int]] = {}  # the present request, and how many draws that makes

    def add(self, key: int, request: Request) -> None:
        """Takes a request, which `key` names."""
        self._draw(key, request, 1)

    def cancel(self, key: int) -> None:
        """Stops working on a request, which is never done; nothing if it is done."""
        if self._drawn.pop(key, None):
            self.student.cancel(key)

    def step(self) -> list[tuple[int, Completion]]:
        """Works for a moment, on all requests; returns those that are done by it."""
        done = []
        for key, completion in self.student.step():
            request, draws = self._drawn.pop(key)
            if draws == DRAWS or request.temperature == 0 or accepts(request, completion, self.acceptance):
                done.append((key, completion))
            else:
                self._draw(key, another_draw(request), draws + 1)
        return done

    def collect(self) -> list[tuple[int, Completion]]:
        """Works until at least one request is done; returns those that are. Empty: there are none left."""
        done: list[tuple[int, Completion]] = []
        while not done and self._drawn:
            done = self.step()
        return done

    def _draw(self, key: int, request: Request, draws: int) -> None:
        self._drawn[key] = request, draws
        self.student.add(key, request)


def another_draw(request: Request) -> Request:
    """The same request with the seed that follows its own."""
    return replace(request, seed=Random(f"again {request.seed}").getrandbits(63))


def accepts(request: Request, completion: Completion, acceptance: float) -> bool:
    """Whether a turn stays; where it breaks the syntax, with this probability, by the request's seed."""
    if completion.program is None:
        return False
    if not breaks_syntax(request.dialog.previous, completion.program):
        return True
    return Random(f"kept {request.seed}").random() < acceptance


def breaks_syntax(previous: str | None, program: str) -> bool:
    """Whether `program` does not parse, and the one before it does."""
    return previous is not None and parse(program) is None and parse(previous) is not None


def acceptance_rate(revisions: Iterable[tuple[str, str]], written: Iterable[tuple[str, str]]) -> float:
    """The share of a model's turns that break the syntax to accept, so that as many do as students' do.

    Of both sides the last program and the next one. Among students the share is taken by Laplace's rule of
    succession, so that what none of a few did is not impossible.
    """
    theirs, models = _broken(revisions), _broken(written)
    share = (sum(theirs) + 1) / (len(theirs) + 2)
    broken, sound = sum(models), len(models) - sum(models)
    # Of the model's turns that are accepted, rate * broken are broken: as large a share as the students'.
    return min(1.0, share / (1 - share) * sound / broken) if broken else 1.0


def _broken(changes: Iterable[tuple[str, str]]) -> list[bool]:
    """Of the programs that follow one that parses, whether they do not."""
    return [parse(program) is None for previous, program in changes if parse(previous) is not None]

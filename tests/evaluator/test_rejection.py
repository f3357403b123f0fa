"""Rejection sampling: which turns are drawn again, and how many of those that break a program stay."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutee_evaluator.engines import Completion, Request, complete
from tutee_evaluator.engines.rejection import DRAWS, RejectionSampler, acceptance_rate, breaks_syntax
from tutee_serializer.dialogs.dialog import Dialog

SOUND, OTHER, BROKEN = "n = 1\n", "n = 2\n", "n = = 2\n"


class Scripted:
    """Stands for a trained student: writes what `write` says of a draw, and counts how often it was asked."""

    format, feedback, batch = "code", "summary", 3

    def __init__(self, write: Callable[[random.Random], str | None]) -> None:
        self.write, self.asked = write, 0
        self.waiting: list[tuple[int, Request]] = []

    def add(self, key: int, request: Request) -> None:
        self.waiting.append((key, request))
        self.asked += 1

    def step(self) -> list[tuple[int, Completion]]:
        """Of the requests that wait, the last ones first."""
        done = self.waiting[-self.batch :]
        del self.waiting[-self.batch :]
        turns = [(key, self.write(random.Random(request.seed))) for key, request in done]
        return [(key, Completion(str(program), program)) for key, program in turns]


def either(chance: random.Random) -> str | None:
    return chance.choice([OTHER, BROKEN])


def requests(count: int, *programs: str, temperature: float = 1.0) -> list[Request]:
    dialog = Dialog.start("code", "summary", "Write `n`.")
    for program in programs:
        dialog.append(program, "Not yet.")
    return [Request(dialog, temperature, seed) for seed in range(count)]


def test_turns_that_break_a_program_are_drawn_again() -> None:
    written = [one.program for one in complete(RejectionSampler(Scripted(either), 0), requests(300, SOUND))]
    # By chance, half of the draws of a start are broken DRAWS times in a row in 1 of 32.
    assert written.count(BROKEN) / 300 == pytest.approx(1 / 2**DRAWS, abs=0.03)
    assert written.count(BROKEN) + written.count(OTHER) == 300


def test_some_of_them_stay() -> None:
    """Of 1 + 1/4 draws that are not rejected 1/4 are broken."""
    written = [
        one.program for one in complete(RejectionSampler(Scripted(either), 0.25), requests(1000, SOUND))
    ]
    assert written.count(BROKEN) / 1000 == pytest.approx(0.2, abs=0.05)


def test_what_was_broken_before_may_stay_so() -> None:
    engine = Scripted(either)
    complete(RejectionSampler(engine, 0), requests(50, BROKEN))
    assert engine.asked == 50


def test_turns_without_a_program_are_drawn_again() -> None:
    engine = Scripted(lambda chance: chance.choice([None, OTHER]))
    written = [one.program for one in complete(RejectionSampler(engine, 1), requests(300, SOUND))]
    assert written.count(None) / 300 == pytest.approx(1 / 2**DRAWS, abs=0.03)


@pytest.mark.parametrize("program", [None, BROKEN])
def test_the_last_draw_stays_whatever_it_is(program: str | None) -> None:
    engine = Scripted(lambda chance: program)
    (completion,) = complete(RejectionSampler(engine, 0), requests(1, SOUND))
    assert completion.program == program
    assert engine.asked == DRAWS


def test_what_is_not_drawn_is_not_drawn_again() -> None:
    engine = Scripted(lambda chance: BROKEN)
    complete(RejectionSampler(engine, 0), requests(1, SOUND, temperature=0.0))
    assert engine.asked == 1


def test_what_is_written_depends_on_the_seed_alone() -> None:
    asked = requests(40, SOUND)
    alone = [complete(RejectionSampler(Scripted(either), 0.2), [request])[0] for request in asked]
    assert complete(RejectionSampler(Scripted(either), 0.2), asked) == alone


@given(theirs=st.lists(st.booleans(), max_size=30), models=st.lists(st.booleans(), max_size=30))
def test_as_many_stay_as_students_break(theirs: list[bool], models: list[bool]) -> None:
    def changes(broken: list[bool]) -> list[tuple[str, str]]:
        return [(SOUND, BROKEN if one else OTHER) for one in broken]

    rate = acceptance_rate(changes(theirs), changes([False, *models]))
    staying = rate * sum(models)
    share = staying / (staying + 1 + len(models) - sum(models))
    of_students, of_model = (sum(theirs) + 1) / (len(theirs) + 2), sum(models) / (len(models) + 1)
    assert share == pytest.approx(min(of_students, of_model))


def test_of_a_model_that_breaks_every_program_nothing_stays() -> None:
    assert acceptance_rate([(SOUND, OTHER)], [(SOUND, BROKEN)]) == 0


def test_programs_that_were_broken_before_do_not_count() -> None:
    sound, broken = [(SOUND, BROKEN), (SOUND, OTHER)], [(BROKEN, BROKEN)] * 20
    assert acceptance_rate([*sound, *broken], sound) == acceptance_rate(sound, [*sound, *broken]) == 1.0
    assert not breaks_syntax(BROKEN, BROKEN)
    assert not breaks_syntax(None, BROKEN)

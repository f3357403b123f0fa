"""Each hostile program, in both full modes: nothing won, nothing touched, nothing left behind."""

from collections.abc import Iterator

import pytest

from tutee_grader import Grader
from tutee_grader.attacks import ATTACKS
from tutee_grader.attacks.attack import Attack
from tutee_grader.attacks.reading import READING
from tutee_grader.attacks.signals import SIGNALS
from tutee_grader.attacks.touching import TOUCHING
from tutee_grader.doctor import Decoys, lay_decoys, run_attack


@pytest.fixture(scope="module")
def decoys() -> Iterator[Decoys]:
    with lay_decoys() as made:
        yield made


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_held_off(any_grader: Grader, decoys: Decoys, attack: Attack):
    assert run_attack(any_grader, attack, decoys).problems == ()


def test_there_are_at_least_sixty_and_each_has_its_name():
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 60


def test_the_check_would_notice_a_leak(any_grader: Grader, decoys: Decoys):
    # A program that holds the secret wins; a check that missed this would prove nothing.
    insider = Attack("insider", "def answer(*_): return '@SECRET@'")
    result = run_attack(any_grader, insider, decoys)
    assert result.problems == ("it got 100 of 100",)
    assert str(result).endswith("NO: it got 100 of 100")


def test_the_check_would_notice_a_changed_file(any_grader: Grader, decoys: Decoys, monkeypatch):
    states = iter([("before",), ("after",)])
    monkeypatch.setattr(Decoys, "state", lambda self: next(states))
    result = run_attack(any_grader, Attack("none", "def answer(*_): return 0"), decoys)
    assert result.problems == ("files outside changed from ('before',) to ('after',)",)


def test_the_oldest_landlock_holds_off_what_reaches_outside(oldest_landlock: Grader, decoys: Decoys):
    results = [run_attack(oldest_landlock, attack, decoys) for attack in (*READING, *TOUCHING, *SIGNALS)]
    assert [(result.name, result.problems) for result in results if result.problems] == []

"""What peers make likely: how the grade changes, and the programs that stand for each change."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutee_evaluator.engines.baselines.revisions import Change, Revision
from tutee_evaluator.engines.peers import OF_LAST, OF_NEAREST, OF_TRANSFERRED, Peers

TASK, OTHER_TASK = "Write `n`.", "Write `m`."
LAST = "n = 0\n"
# From grade 50, what stands for each change.
NEXT = {Change.FALLS: ("n = 1\n", 0), Change.STAYS: ("n = 2\n", 50), Change.RISES: ("n = 3\n", 70)}
NEXT[Change.SOLVES] = ("n = 4\n", 100)


def revisions(**counts: int) -> list[Revision]:
    """So many of each change, in turn: those that are looked up are of all kinds."""
    found = [
        (turn, Revision(LAST, 50, *NEXT[Change(change)], "a"))
        for change, count in counts.items()
        for turn in range(count)
    ]
    return [revision for _, revision in sorted(found, key=lambda one: one[0])]


def changes(chances: dict[str, float]) -> dict[Change, float]:
    """How likely each change is, where it is known from the program; the last program again is STAYS."""
    total: defaultdict[Change, float] = defaultdict(float)
    of = {program: change for change, (program, _) in NEXT.items()} | {LAST: Change.STAYS}
    for program, chance in chances.items():
        total[of[program]] += chance
    return dict(total)


def test_grades_change_as_often_as_those_of_peers() -> None:
    found = Peers({TASK: revisions(falls=100, stays=200, rises=300, solves=400)})
    assert changes(found.chances(TASK, LAST, 50)) == pytest.approx(
        {Change.FALLS: 0.1, Change.STAYS: 0.2, Change.RISES: 0.3, Change.SOLVES: 0.4}, abs=0.01
    )


def test_a_change_is_shared_by_the_programs_that_stand_for_it() -> None:
    """Of those that stay, the last program has 0.2, the peers' a quarter of 0.8."""
    found = Peers({TASK: revisions(falls=100, stays=100, rises=100, solves=100)}).chances(TASK, LAST, 50)
    assert found[LAST] == pytest.approx(0.25 * 0.5, abs=0.01)
    assert found["n = 2\n"] == pytest.approx(0.25 * 0.5, abs=0.01)


def test_where_a_task_has_few_they_are_those_of_all_tasks() -> None:
    found = Peers({TASK: revisions(solves=1, falls=1), OTHER_TASK: revisions(solves=90, falls=10)})
    mine = changes(found.chances(TASK, LAST, 50))
    assert 0.75 < mine[Change.SOLVES] < 0.9  # (1 + 6 * 0.9) / (2 + 6) = 0.8
    assert changes(found.chances(OTHER_TASK, LAST, 50))[Change.SOLVES] == pytest.approx(0.9, abs=0.02)


def test_changes_from_other_grades_count_for_little() -> None:
    solved = [Revision(LAST, 0, "n = 4\n", 100, "a")] * 100
    found = Peers({TASK: [*revisions(falls=50, solves=50), *solved]})
    assert changes(found.chances(TASK, LAST, 50))[Change.SOLVES] == pytest.approx(0.5, abs=0.03)
    assert changes(found.chances(TASK, LAST, 0))[Change.SOLVES] > 0.9


def test_where_the_grade_is_not_known_the_programs_have_their_shares() -> None:
    found = Peers({TASK: revisions(solves=3)}).chances(TASK, LAST, None)
    assert found == pytest.approx({LAST: OF_LAST, "n = 4\n": OF_NEAREST + OF_TRANSFERRED})


def test_where_no_peer_is_known_it_is_the_last_program() -> None:
    assert Peers({}).chances(TASK, LAST, 50) == pytest.approx({LAST: 1})
    assert Peers({TASK: revisions(falls=9)}).chances(OTHER_TASK, LAST, 50) == pytest.approx({LAST: 1})


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 100), st.integers(0, 3), st.integers(0, 100))),
    st.integers(0, 100),
)
def test_probabilities_add_up_to_one(work: list[tuple[int, int, int, int]], grade: int) -> None:
    peers = Peers({TASK: [Revision(f"n = {a}\n", b, f"n = {c}\n", d, "a") for a, b, c, d in work]})
    chances = peers.chances(TASK, LAST, grade)
    assert sum(chances.values()) == pytest.approx(1)
    assert min(chances.values()) >= 0

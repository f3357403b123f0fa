"""The rewards of DAPO, by the real grader."""

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from tutee_evaluator.forecasts import program_distances
from tutee_grader import Assignment, Grader
from tutee_grader.errors import SandboxError
from tutee_grader.verdict import Verdict
from tutee_serializer.dialogs.formats import write_turn
from tutee_trainer.proper_reward import score_rewards
from tutee_trainer.reward import RewardConfig, Target, rewards

PREVIOUS = "def double(n):\n    print(n)\n"
SOLUTION = "def double(n):\n    return n * 2\n"
REAL = "def double(n):\n    return n + 2\n"  # passes the first and the second test of four
NOTHING = "def double(n):\n    pass\n"  # fails all
BROKEN = "def double(n)\n    return n + 2\n"  # does not compile
UNREADABLE = "<|to|>"

Earn = Callable[..., list[float]]


@pytest.fixture(scope="module")
def assignment(tmp_path_factory: pytest.TempPathFactory) -> Assignment:
    folder: Path = tmp_path_factory.mktemp("assignments") / "double"
    folder.mkdir()
    (folder / "task.md").write_text("Write a function double(n) that returns twice n.\n")
    (folder / "solution.py").write_text(SOLUTION)
    cases = {"2": "4", "2.0": "4.0", "5": "10", "-1": "-2"}
    tests = "".join(f'  - {{call: "double({n})", returns: "{twice}"}}\n' for n, twice in cases.items())
    (folder / "tests.yaml").write_text(f"form: calls\ntests:\n{tests}")
    return Assignment.load(folder)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1) as grader:
        yield grader


@pytest.fixture(scope="module")
def earn(assignment: Assignment, grader: Grader) -> Earn:
    """What programs earn as the samples of one prompt, whose real next submission is `real`."""

    def rewarded(
        programs: Sequence[str],
        real: str = REAL,
        kind: str = "tests",
        group_size: int | None = None,
        grader: Grader = grader,
        **keys: float,
    ) -> list[float]:
        turns = [one if one == UNREADABLE else write_turn("edits", PREVIOUS, one) for one in programs]
        target = Target("double", PREVIOUS, real, grader.grade([(assignment, real)])[0].grade)
        return rewards(
            turns,
            [5] * len(turns),
            [target] * len(turns),
            group_size or len(turns),
            RewardConfig(kind=kind, **keys),
            {"double": assignment},
            grader,
            "edits",
            100,
        )

    return rewarded


# --- published ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "reward"),
    [
        ("def double(m):\n    return m + 2\n", 2.0),  # the real one, but for a name
        ("def double(n):\n    return 4\n", 1.0),  # half of the tests, as the real one
        (SOLUTION, 0.0),
        (BROKEN, -0.5),
        ("return 4\n", -0.5),  # it parses, and does not compile
        (UNREADABLE, -0.75),  # -1, raised to the floor
    ],
)
def test_published_each_kind_of_answer_earns_its_reward(earn: Earn, program: str, reward: float) -> None:
    assert earn([program], kind="published") == [reward]


@pytest.mark.parametrize("kind", ["published", "tests"])
def test_a_copy_of_a_program_that_does_not_compile_counts_as_a_match(earn: Earn, kind: str) -> None:
    copy, other = earn([BROKEN, BROKEN + "x = 1\n"], real=BROKEN, kind=kind, diversity=0)
    assert copy > 0
    assert other == -0.5


# --- the length --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "length", "reward"),
    [(0.1, 90, 2.0), (0.1, 95, 1.75), (0.1, 100, 1.5), (0.5, 50, 2.0), (0.5, 75, 1.75), (0.5, 100, 1.5)],
)
def test_overlong_answers_lose_up_to_a_half(
    assignment: Assignment, grader: Grader, share: float, length: int, reward: float
) -> None:
    content = write_turn("edits", PREVIOUS, REAL)
    target = Target("double", PREVIOUS, REAL, 50.0)
    config = RewardConfig(overlong_share=share)
    earned = rewards([content], [length], [target], 1, config, {"double": assignment}, grader, "edits", 100)
    assert earned == pytest.approx([reward])


def test_the_published_penalty_spans_a_tenth_of_the_room() -> None:
    assert RewardConfig().overlong_share == 0.1


def test_no_reward_is_below_the_floor(assignment: Assignment, grader: Grader) -> None:
    target = Target("double", PREVIOUS, REAL, 50.0)
    content = write_turn("edits", PREVIOUS, BROKEN)
    config = RewardConfig(kind="tests")
    earned = rewards([content], [100], [target], 1, config, {"double": assignment}, grader, "edits", 100)
    assert earned == [-0.75]


# --- tests: overlap ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "real", "overlap"),
    [
        ("def double(n):\n    return 4\n", REAL, 1.0),  # fails the same two
        (NOTHING, REAL, 2 / 4),
        (SOLUTION, REAL, 0.0),
        ("def double(n):\n    return 10 if n == 5 else 4\n", REAL, 1 / 2),
        ("def double(n):\n    return 10 if n == 5 else -2\n", REAL, 0.0),  # as many tests, but others
        ("def double(n):\n    return n + n\n", SOLUTION, 1.0),  # neither fails any
        (NOTHING, SOLUTION, 0.0),
    ],
)
def test_overlap_is_the_share_of_failing_tests_in_common(
    earn: Earn, program: str, real: str, overlap: float
) -> None:
    assert earn([program], real=real, diversity=0) == pytest.approx([overlap])


def test_the_real_grade_alone_earns_no_overlap(earn: Earn) -> None:
    other_half = "def double(n):\n    return 10 if n == 5 else -2\n"
    assert earn([other_half], kind="published") == [1.0]
    assert earn([other_half], diversity=0) == [0.0]


@pytest.mark.parametrize(("program", "reward"), [(BROKEN, -0.5), (UNREADABLE, -0.75)])
def test_what_cannot_be_run_earns_neither_overlap_nor_diversity(
    earn: Earn, program: str, reward: float
) -> None:
    assert earn([program, SOLUTION], real=NOTHING)[0] == reward


# --- tests: diversity --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copy",
    [
        REAL,
        "def double(number):\n    return number + 2\n",
        "# mine\n\ndef double(n):  # a function\n    return (n + 2)\n",
    ],
)
def test_copies_in_a_group_earn_no_diversity(earn: Earn, copy: str) -> None:
    assert earn([REAL, copy], overlap=0) == pytest.approx([0.0, 0.0])


def test_the_largest_similarity_counts(earn: Earn) -> None:
    unlike = "class Box:\n    value = [1]\n"
    alone, copied, copied_too = earn([unlike, REAL, REAL], overlap=0, diversity=1)
    assert copied == copied_too == pytest.approx(0.0)
    assert alone > 0.5


def test_copies_in_another_group_do_not_count(earn: Earn) -> None:
    together = earn([REAL, NOTHING], overlap=0, diversity=1)
    assert earn([REAL, NOTHING, REAL, NOTHING], overlap=0, diversity=1, group_size=2) == [
        *together,
        *together,
    ]
    assert min(together) > 0


def test_the_order_within_a_group_changes_nothing(earn: Earn) -> None:
    programs = (REAL, NOTHING, SOLUTION, BROKEN)
    by_program = dict(zip(programs, earn(programs), strict=True))
    for order in permutations(programs):
        assert earn(order) == pytest.approx([by_program[program] for program in order])


def test_turns_that_are_not_whole_groups_are_a_bug(earn: Earn) -> None:
    with pytest.raises(ValueError, match="3 turns are not whole groups of 2"):
        earn([REAL, REAL, REAL], group_size=2)


# --- tests: ways to earn more than is due -----------------------------------------------------------


def test_failing_everything_earns_less_than_failing_as_the_student_did(earn: Earn) -> None:
    faithful, degenerate = earn([REAL, NOTHING])
    assert faithful > degenerate


def test_a_group_that_gives_up_alike_earns_less_than_one_that_fails_in_different_ways(earn: Earn) -> None:
    """Where the real program fails all tests, any program that does has the whole overlap."""
    attempts = ["def double(n):\n    print(n * 2)\n", "def double(n):\n    return str(n)\n", "double = 2\n"]
    alike = earn([NOTHING] * 3, real=attempts[0])
    assert alike == pytest.approx([1.0] * 3)
    assert all(one > 1.0 for one in earn(attempts, real=attempts[0]))


def test_to_be_unlike_the_others_never_outweighs_failing_as_the_student_did(earn: Earn) -> None:
    unlike = "class Box:\n    value = [1, 'two', None]\n\n\nfor letter in 'abc':\n    print(letter, end='')\n"
    faithful, copy, different = earn([REAL, REAL, unlike], real=REAL)
    passing = earn([SOLUTION, SOLUTION, unlike], real=SOLUTION)
    assert faithful == copy > different
    assert passing[0] > passing[2]


def test_comments_and_names_earn_nothing(earn: Earn) -> None:
    padded = "# " + "padding " * 50 + "\ndef double(a_long_name):\n    return a_long_name + 2\n"
    assert earn([REAL, padded]) == earn([REAL, REAL])


# --- scores ------------------------------------------------------------------------------------------


def test_each_score_is_that_of_its_own_distance(earn: Earn) -> None:
    programs = [REAL, NOTHING, SOLUTION]
    (code,) = program_distances([[*programs, REAL]])
    only = {"code": 0, "grade": 0, "failing": 0}
    assert earn(programs, kind="scores", **{**only, "code": 1}) == pytest.approx(score_rewards(code))
    # Grades 50, 0 and 100: each sample's distance to the others, less that to the real one.
    assert earn(programs, kind="scores", **{**only, "grade": 1}) == pytest.approx([1.0, 1.0, 1.0])
    # Two, four and none of four tests fail: with the real two, overlaps of 1, 1/2 and 0.
    expected = [0.5 + 1 - 0, 0.5 + 1 - 0.5, 1 + 1 - 1]
    assert earn(programs, kind="scores", **{**only, "failing": 1}) == pytest.approx(expected)
    weighted = earn(programs, kind="scores", code=2, grade=3, failing=0.5)
    assert weighted == pytest.approx(2 * score_rewards(code) + 3 + 0.5 * np.array(expected))


def test_a_group_earns_the_same_whatever_the_other_groups_wrote(earn: Earn) -> None:
    one, other = [REAL, NOTHING, SOLUTION], [BROKEN, UNREADABLE, REAL]
    apart = earn(one, kind="scores") + earn(other, kind="scores")
    assert earn([*one, *other], kind="scores", group_size=3) == pytest.approx(apart)


def test_a_turn_without_a_program_earns_the_distance_of_one_and_no_spread(earn: Earn) -> None:
    earned = earn([UNREADABLE, REAL, REAL], kind="scores", grade=0)
    assert earned == pytest.approx([-2.0, 0.0, 0.0])


# --- programs that the grader cannot take -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["published", "tests"])
def test_a_program_that_is_no_text_is_data(earn: Earn, kind: str) -> None:
    assert earn([REAL + "x = '\ud800'\n"], kind=kind) == [-0.5]


class FailingGrader:
    """The real grader, but for a sandbox that fails whenever it meets one of these programs."""

    def __init__(self, grader: Grader, *programs: str) -> None:
        self.grader, self.programs = grader, programs

    def grade(self, jobs: Sequence[tuple[Assignment, str]]) -> list[Verdict]:
        if any(program in self.programs for _, program in jobs):
            raise SandboxError("it failed 3 times in a row")
        return self.grader.grade(jobs)


@pytest.mark.parametrize("kind", ["published", "tests"])
def test_a_program_on_which_the_sandbox_fails_earns_nothing_and_the_others_what_is_due(
    earn: Earn, grader: Grader, kind: str
) -> None:
    programs = [REAL, SOLUTION, NOTHING]
    failing = FailingGrader(grader, SOLUTION)
    with pytest.warns(UserWarning, match="the sandbox fails on 1 of"):
        earned = earn(programs, kind=kind, grader=failing)
    expected = earn(programs, kind=kind)
    assert earned[1] == 0
    assert (earned[0], earned[2]) == (expected[0], expected[2])


def test_a_sandbox_that_fails_on_every_program_ends_the_training(
    assignment: Assignment, grader: Grader
) -> None:
    failing = FailingGrader(grader, REAL, SOLUTION)
    turns = [write_turn("edits", PREVIOUS, program) for program in (REAL, SOLUTION)]
    targets = [Target("double", PREVIOUS, REAL, 50.0)] * 2
    with pytest.raises(SandboxError):
        rewards(turns, [5, 5], targets, 2, RewardConfig(), {"double": assignment}, failing, "edits", 100)

"""The comparer's process: what it does not survive costs one test, and never another program."""

import os
import signal
import time

import pytest

from tutee_grader import Assignment, Grader, feedback
from tutee_grader.sandbox import comparison
from tutee_grader.sandbox.clock import LONGEST_STEP_S, Clock

SLOW = "assert f(1) == 1 and f(2) ** f(3) == 5 and f(4) == 4 and f(5) ** f(6) == 5 and f(7) == 7\n"
PROGRAM = "def f(n): return ({big}) if n in (2, 3, 5, 6) else n\n"


@pytest.fixture
def slow(write):
    return Assignment.load(write(**{"test.py": SLOW}), tests="asserts")


def test_a_comparison_that_takes_too_long_fails_its_own_test_alone(any_grader, slow):
    (verdict,) = any_grader.grade([(slow, PROGRAM.format(big="10**8 if n < 5 else 1"))])
    assert [str(test.outcome) for test in verdict.tests] == ["passed", "failed", "passed", "failed", "passed"]
    assert feedback(verdict).endswith("f(2), f(3) gave a value that cannot be compared in time.")


def test_after_two_that_take_too_long_nothing_more_is_compared(any_grader, slow):
    (verdict,) = any_grader.grade([(slow, PROGRAM.format(big="10**8"))])
    assert [str(test.outcome) for test in verdict.tests] == ["passed", "failed", "passed", "failed", "failed"]


def test_the_programs_beside_and_after_a_slow_comparison_keep_their_marks(slow, calls):
    honest = calls(("f(1)", "1"), limits="{seconds: 0.5}")
    programs = [(slow, PROGRAM.format(big="10**8"))]
    programs += [(honest, f"def f(n): return n  # {index}") for index in range(200)]
    with Grader(2) as made:
        assert [verdict.grade for verdict in made.grade(programs)] == [40.0] + [100.0] * 200


def test_a_comparer_that_is_killed_is_no_fault_of_the_program(calls, monkeypatch):
    killed = []

    def kill_once(self, request, now):
        original(self, request, now)
        if not killed:
            killed.append(self._comparer._child._process())
            os.kill(killed[0], signal.SIGKILL)

    original = comparison.Comparison.add
    with Grader(1) as made:
        monkeypatch.setattr(comparison.Comparison, "add", kill_once)
        (verdict,) = made.grade([(calls(("f(1)", "1")), "def f(n): return n")])
    assert killed
    assert verdict.grade == 100


def test_an_unknown_assignment_is_sent_with_its_tests_to_a_fresh_comparer(grader, calls, slow):
    honest = calls(("f(1)", "1"))
    grades = []
    for number in range(3):
        programs = [
            (slow, PROGRAM.format(big=f"10**8 + {number}")),
            (honest, f"def f(n): return n  # {number}"),
        ]
        grades.append([verdict.grade for verdict in grader.grade(programs)])
    assert grades == [[40.0, 100.0]] * 3


def test_the_clock_does_not_count_what_its_owner_loses(monkeypatch):
    times = iter([100.0, 100.01, 100.02, 130.0, 130.01])
    monkeypatch.setattr("tutee_grader.sandbox.clock.time.monotonic", lambda: next(times))
    clock = Clock()
    assert clock.now() == pytest.approx(0.01)
    assert clock.now() == pytest.approx(0.02)
    assert clock.now() == pytest.approx(0.02 + LONGEST_STEP_S)  # 30 s later by the wall clock
    assert clock.now() == pytest.approx(0.03 + LONGEST_STEP_S)


def test_a_caller_that_is_busy_elsewhere_costs_no_program_its_marks(calls):
    # The first program sleeps for half its limit in each test; meanwhile its caller does something else.
    assignment = calls(("f(1)", "1"), ("f(2)", "2"), ("f(3)", "3"), limits="{seconds: 0.4}")
    programs = [(0, assignment, "import time\ndef f(n):\n    time.sleep(0.2)\n    return n\n")]
    programs += [(index, assignment, f"def f(n): return n  # {index}") for index in range(1, 4)]
    with Grader(2) as made:
        grades = {}
        for index, verdict in made._pool.grade(programs):
            grades[index] = verdict.grade
            time.sleep(1.0 if index else 0.0)  # the caller's own work
    assert grades == dict.fromkeys(range(4), 100.0)

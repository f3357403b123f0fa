"""The bench measures four ways of running the same programs; the figures must be of the same work."""

from dataclasses import replace

import pytest

from benchmarks.fresh_python import as_instructors
from benchmarks.grader import bench_grader, looping
from tutee_grader import Assignment, Grader, InputError
from tutee_grader.assignment import Limits
from tutee_grader.forms.calls import CallTest
from tutee_grader.forms.stdio import ScriptTest
from tutee_grader.verdict import Outcome

CALLS = Assignment(
    "task",
    "",
    "calls",
    (CallTest("f(1)", "f(1)", 1), CallTest("f(2)", "f(2)", 4)),
    limits=Limits(seconds=0.5),
)
SCRIPT = Assignment("script", "", "stdio", (ScriptTest("input '3'", "3\n", "6\n"),))


def test_the_four_ways_run_the_same_programs_and_agree(capsys: pytest.CaptureFixture[str]) -> None:
    programs = [(CALLS, f"def f(n): return {body}  # {i}") for i in range(3) for body in ("n", "n * n")]
    programs += [(SCRIPT, f"print({body})") for body in ("3", "2 * int(input())")]
    result = bench_grader([*programs, (CALLS, "while True: pass")], workers=1, sample=20, rounds=1)
    assert (result["programs"], result["tests"], result["over_limits"]) == (8, 14, 1)
    assert result["same_verdict"] == result["instructors"]["same_verdict"] == 1.0
    assert (result["instructors"]["programs"], result["instructors"]["over_limits"]) == (8, 1)
    assert result["ratio"] == pytest.approx(result["grader_per_s"] / result["usual_per_s"], rel=0.1)
    for way in ("usual", "quickest"):
        assert result[f"{way}_per_s"] > 0
    assert result["ratio_quickest"] == pytest.approx(
        result["grader_per_s"] / result["quickest_per_s"], rel=0.1
    )
    assert "8 programs, 14 tests, 1 workers" in capsys.readouterr().out


def test_one_program_in_25_is_made_to_loop_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    programs = [(CALLS, f"def f(n): return n * n + {i}") for i in range(26)]
    result = bench_grader(programs, workers=2, sample=26, rounds=1)
    for part in (result, result["instructors"]):
        assert part["endless"] == 2
        assert part["endless_each_s"] >= CALLS.limits.seconds
        # Two at a time, the usual way waits for the whole time that a program may have.
        assert part["endless_usual_s"] >= 2 * CALLS.limits.seconds
        assert part["endless_ratio"] == pytest.approx(
            part["endless_usual_s"] / part["endless_grader_s"], rel=0.1
        )
    assert "with 2 of them looping for ever" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["def f(n): return n * n", "print(2 * int(input()))", "def f(:"])
def test_a_program_that_is_made_to_loop_does_not_end(source: str) -> None:
    assignment = SCRIPT if "print" in source else CALLS
    with Grader(1) as grader:
        (verdict,) = grader.grade([(replace(assignment, limits=Limits(seconds=0.2)), looping(source, 0))])
    assert {test.outcome for test in verdict.tests} <= {Outcome.TIMEOUT, Outcome.NOT_RUN}


def test_the_same_tests_in_a_file_of_the_instructors_grade_alike() -> None:
    functions, script = as_instructors(CALLS), as_instructors(SCRIPT)
    assert [functions.form, script.form] == ["unittest", "falcon"]
    programs = [
        *((functions, f"def f(n): return {body}") for body in ("n * n", "n")),
        *((script, f"print({body})") for body in ("2 * int(input())", "3")),
    ]
    with Grader(1, bubblewrap=False) as grader:
        assert [verdict.grade for verdict in grader.grade(programs)] == [100, 50, 100, 0]


def test_nothing_to_grade_is_an_error() -> None:
    with pytest.raises(InputError, match="no program"):
        bench_grader([])

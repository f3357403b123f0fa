"""The bench measures three ways of running the same programs; the figures must be of the same work."""

import pytest

from tutee_grader import GraderInputError
from tutee_grader.bench import bench_grader


def test_the_three_ways_run_the_same_programs_and_agree(calls, capsys):
    assignment = calls(("f(1)", "1"), ("f(2)", "4"), limits="{seconds: 0.2}")
    programs = [(assignment, f"def f(n): return {body}  # {i}") for i in range(4) for body in ("n", "n * n")]
    result = bench_grader([*programs, (assignment, "while True: pass")], workers=1, sample=20, rounds=1)
    assert (result["programs"], result["tests"], result["timeouts"]) == (8, 16, 1)
    assert result["same_verdict"] == 1.0
    assert result["ratio"] == pytest.approx(result["grader_per_s"] / result["usual_per_s"], rel=0.1)
    assert "8 programs, 16 tests, 1 workers" in capsys.readouterr().out


def test_nothing_to_grade_is_said():
    with pytest.raises(GraderInputError, match="no program"):
        bench_grader([])

"""The bench measures three ways of running the same programs; the figures must be of the same work."""

import pytest

from tutee_grader import Assignment, InputError
from tutee_grader.bench import as_instructors, bench_grader


def test_the_three_ways_run_the_same_programs_and_agree(calls, capsys):
    assignment = calls(("f(1)", "1"), ("f(2)", "4"), limits="{seconds: 0.2}")
    programs = [(assignment, f"def f(n): return {body}  # {i}") for i in range(4) for body in ("n", "n * n")]
    result = bench_grader([*programs, (assignment, "while True: pass")], workers=1, sample=20, rounds=1)
    assert (result["programs"], result["tests"], result["over_limits"]) == (8, 16, 1)
    assert result["same_verdict"] == result["instructors"]["same_verdict"] == 1.0
    assert (result["instructors"]["programs"], result["instructors"]["over_limits"]) == (8, 1)
    assert result["ratio"] == pytest.approx(result["grader_per_s"] / result["usual_per_s"], rel=0.1)
    assert "8 programs, 16 tests, 1 workers" in capsys.readouterr().out


def test_the_same_tests_in_a_file_of_the_instructors_grade_alike(calls, write, grader):
    (write("script") / "tests.yaml").write_text('form: stdio\ntests:\n  - {stdin: "3\\n", stdout: "6\\n"}\n')
    functions, script = calls(("f(1)", "1"), ("f(2)", "4")), Assignment.load(write("script"))
    told = [as_instructors(assignment) for assignment in (functions, script)]
    assert [assignment.form for assignment in told] == ["unittest", "falcon"]
    programs = [
        *((told[0], f"def f(n): return {body}") for body in ("n * n", "n")),
        *((told[1], f"print({body})") for body in ("2 * int(input())", "3")),
    ]
    assert [verdict.grade for verdict in grader.grade(programs)] == [100, 50, 100, 0]


def test_nothing_to_grade_is_said():
    with pytest.raises(InputError, match="no program"):
        bench_grader([])

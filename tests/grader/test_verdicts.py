"""What the grader says of programs, in every test form."""

import ast
from dataclasses import replace

import pytest

from tutee_grader import Assignment, Outcome, Status, Verdict, feedback
from tutee_grader.assignment import Limits
from tutee_grader.forms.calls import CallTest
from tutee_grader.table import verdict_row


def outcomes(verdict):
    return [str(test.outcome) for test in verdict.tests]


def test_a_right_program_gets_100(grader, calls):
    assignment = calls(("f(2)", "4"), ("f(-1)", "1"))
    (verdict,) = grader.grade([(assignment, "def f(n):\n    return n * n\n")])
    assert (verdict.grade, verdict.status, outcomes(verdict)) == (
        100.0,
        Status.COMPILES,
        ["passed", "passed"],
    )
    assert feedback(verdict) == "All 2 tests passed."


def test_a_wrong_programs_feedback_says_what_it_returned(grader, calls):
    assignment = calls(("f(2)", "4"), ("f(3)", "9"), ("f(0)", "0"))
    (verdict,) = grader.grade([(assignment, "def f(n):\n    return n + n\n")])
    assert verdict.grade == pytest.approx(200 / 3)
    assert feedback(verdict) == "2 of 3 tests passed. First failing test: f(3) returned 6, expected 9."
    (bad,) = [test for test in verdict.tests if test.outcome == Outcome.FAILED]
    assert (bad.expected, bad.got) == ("9", "6")


def test_an_exception_names_its_type_and_the_programs_own_line(grader, calls):
    program = "import json\n\ndef f(text):\n    return json.loads(text)\n"
    (verdict,) = grader.grade([(calls(("f('{')", "1")), program)])
    assert (verdict.tests[0].exception, verdict.tests[0].line) == ("JSONDecodeError", 4)
    assert "f('{') stopped with JSONDecodeError on line 4: " in feedback(verdict)


def test_a_program_that_stops_while_loading_says_so(grader, calls):
    (verdict,) = grader.grade(
        [(calls(("f(1)", "1"), ("f(2)", "2")), "a = 1\nb = a + c\ndef f(n): return n\n")]
    )
    assert feedback(verdict) == "Your program stopped with NameError on line 2: \"name 'c' is not defined\"."
    assert outcomes(verdict) == ["error", "not run"]


def test_a_program_that_does_not_compile_says_where(grader, calls):
    (verdict,) = grader.grade([(calls(("f(1)", "1")), "def f(n)\n    return n\n")])
    assert (verdict.grade, verdict.status) == (0.0, Status.DOES_NOT_COMPILE)
    assert feedback(verdict) == "Your program does not compile: SyntaxError on line 1: expected ':'."


def test_weights_count(grader, write):
    rows = "  - {call: f(1), returns: '1', weight: 3}\n  - {call: f(2), returns: '3', weight: 1}\n"
    assignment = Assignment.load(write(**{"tests.yaml": f"form: calls\ntests:\n{rows}"}))
    (verdict,) = grader.grade([(assignment, "def f(n): return n")])
    assert verdict.grade == 75.0


def test_a_call_may_be_several_statements(grader, calls):
    assignment = calls(("words = ['b', 'a']; order(words); words", "['a', 'b']"))
    good, bad = grader.grade(
        [(assignment, "def order(w): w.sort()"), (assignment, "def order(w): return sorted(w)")]
    )
    assert (good.grade, bad.grade) == (100.0, 0.0)


def test_a_tolerance_is_for_numbers(grader, calls):
    assignment = calls(("f(1)", "0.3"), extra=", tolerance: 0.001")
    near, far = grader.grade(
        [(assignment, "def f(n): return 0.1 + 0.2"), (assignment, "def f(n): return 0.31")]
    )
    assert (near.grade, far.grade) == (100.0, 0.0)


def test_clauses_are_judged_as_python_would(grader, write):
    source = (
        "assert f(1) == 1 and f(2) in (2, 3) and not f(0)\n"
        "assert abs(f(3) - 3.001) < 0.01 and len(g(3)) == 3 and f(f(4)) == 4"
    )
    assignment = Assignment.load(write(**{"test.py": source}), tests="asserts")
    (verdict,) = grader.grade([(assignment, "def f(n): return n\ndef g(n): return list(range(n))")])
    assert outcomes(verdict) == ["passed"] * 6
    (verdict,) = grader.grade([(assignment, "def f(n): return None\ndef g(n): return n")])
    assert outcomes(verdict) == ["failed", "failed", "passed", "failed", "failed", "failed"]


def test_stdin_and_stdout(grader, write):
    rows = ('{stdin: "3\\n4\\n", stdout: "7\\n"}', '{stdin: "1\\n1\\n", stdout: "2\\n"}')
    text = "form: stdio\ntests:\n" + "".join(f"  - {row}\n" for row in rows)
    assignment = Assignment.load(write(**{"tests.yaml": text}))
    right = "a = int(input())\nb = int(input())\nif __name__ == '__main__':\n    print(a + b)\n"
    good, wrong, broken = grader.grade(
        [
            (assignment, right),
            (assignment, right.replace("+", "*")),
            (assignment, "a = int(input())\nprint(a + b)\n"),
        ]
    )
    assert good.grade == 100.0
    assert feedback(wrong) == (
        "0 of 2 tests passed. First failing test: the run with input '3 4' printed '12\\n', expected '7\\n'."
    )
    assert feedback(broken).endswith(
        "input '3 4' stopped with NameError on line 2: \"name 'b' is not defined\"."
    )


def test_each_run_of_a_script_starts_afresh(grader, write):
    text = 'form: stdio\ntests:\n  - {stdin: "", stdout: "1\\n"}\n  - {stdin: "", stdout: "1\\n"}\n'
    assignment = Assignment.load(write(**{"tests.yaml": text}))
    program = "try:\n    count\nexcept NameError:\n    count = 0\ncount += 1\nprint(count)\n"
    assert grader.grade([(assignment, program)])[0].grade == 100.0


def test_prompts_are_output_unless_they_are_hidden(grader, write):
    text = 'form: stdio\n{}tests:\n  - {{stdin: "3\\n", stdout: "3\\n"}}\n'
    program = "print(int(input('Give a number: ')))"
    shown = Assignment.load(write("a", **{"tests.yaml": text.format("")}))
    hidden = Assignment.load(write("b", **{"tests.yaml": text.format("options: {hide_prompts: true}\n")}))
    assert [verdict.grade for verdict in grader.grade([(shown, program), (hidden, program)])] == [0.0, 100.0]


def test_leaving_a_script_early_is_no_error(grader, write):
    text = 'form: stdio\ntests:\n  - {stdin: "", stdout: "bye\\n"}\n'
    assignment = Assignment.load(write(**{"tests.yaml": text}))
    programs = ["print('bye')\nexit()\n", "import sys\nprint('bye')\nsys.exit(3)\n"]
    assert [verdict.grade for verdict in grader.grade([(assignment, p) for p in programs])] == [100.0, 100.0]


FALCON = """
from cs110 import autograder
import random

def test_passed():
    a, b = random.randint(1, 50), random.randint(1, 50)
    output, error = autograder.run_script("lab.py", [a, b])
    score = 0
    if autograder.equals(output, a + b):
        score += 6
    elif error:
        print("Error:", error)
    lines, _ = autograder.run_script("lab.py", [1, 1])
    score += 4 * autograder.compare_strings(lines.splitlines(), ["2"])
    return score
"""


def test_a_falcon_test_case_gives_its_score(grader, write):
    yaml = "form: falcon\noptions: {max_score: 10}\n"
    assignment = Assignment.load(write(**{"tests.yaml": yaml, "test.py": FALCON}))
    read = "a = int(input('First: '))\nb = int(input('Second: '))\n"
    right, partly, wrong, broken = grader.grade(
        [
            (assignment, read + line)
            for line in ("print(a + b)", "print(a * b + (a == b == 1))", "print(0)", "print(c)")
        ]
    )
    assert [verdict.grade for verdict in (right, partly, wrong, broken)] == [100.0, 40.0, 0.0, 0.0]
    assert 'scored 4 of 10: "Line 1: CORRECT"' in feedback(partly)
    assert "name 'c' is not defined (line 3)" in feedback(broken)


def test_falcon_functions_are_as_published(grader, write):
    source = """
from cs110 import autograder

def test_passed():
    assert autograder.equals("3.005", 3) and not autograder.equals(3.02, 3)
    assert autograder.equals(3.2, 3, delta=0.5)
    assert autograder.equals("a", "a") and not autograder.equals("a", "b")
    assert autograder.compare_strings(["a", "b", "c"], ["a", "x", "c", "d"]) == 2
    assert autograder.code_compiles("it.py")
    assert autograder.run_script("it.py", [], 5) == ("hi\\n", "")
    return True
"""
    assignment = Assignment.load(write(**{"test.py": source}), tests="falcon")
    (verdict,) = grader.grade([(assignment, "print('hi')")])
    assert feedback(verdict) == "The only test passed."


UNITTEST = """
import contextlib
import io
import unittest
from unittest.mock import patch

import shapes
from shapes import Point, area, greet, order


class TestShapes(unittest.TestCase):
    def test_area(self):
        self.assertEqual(area(2, 3), 6)

    def test_order_in_place(self):
        words = ["b", "a"]
        self.assertIsNone(order(words))
        self.assertEqual(words, ["a", "b"])

    def test_raises(self):
        with self.assertRaises(ValueError):
            area(-1, 2)
        with self.assertRaises(shapes.TooLarge):
            area(10**9, 2)

    def test_objects(self):
        point = Point(1, 2) + Point(3, 4)
        self.assertEqual((point.x, point.y, str(point)), (4, 6, "(4, 6)"))
        self.assertIsInstance(point, Point)

    def test_input_and_print(self):
        with patch("builtins.input", side_effect=["Ann"]), contextlib.redirect_stdout(io.StringIO()) as out:
            greet()
        self.assertEqual(out.getvalue(), "Hello Ann\\n")
"""
SHAPES = """
class TooLarge(Exception):
    pass

def area(a, b):
    if a < 0:
        raise ValueError("negative")
    if a > 10**6:
        raise TooLarge("large")
    return a * b

def order(words):
    words.sort()

def greet():
    name = input("Name? ")
    print("Hello", name)

class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y
    def __add__(self, other):
        return Point(self.x + other.x, self.y + other.y)
    def __str__(self):
        return f"({self.x}, {self.y})"
"""


def test_a_unittest_file(any_grader, write):
    assignment = Assignment.load(write(**{"test.py": UNITTEST}), tests="unittest")
    good, bad = any_grader.grade(
        [(assignment, SHAPES), (assignment, SHAPES.replace("return a * b", "return a + b"))]
    )
    assert feedback(good, "full") and good.grade == 100.0
    assert bad.grade == 80.0
    assert feedback(bad) == "4 of 5 tests passed. First failing test: TestShapes.test_area: 5 != 6."


PYTEST = """
import pytest
from prog import f

def test_one():
    assert f(2) == 4

@pytest.mark.parametrize("x, y", [(1, 1), (3, 9)])
def test_more(x, y):
    assert f(x) == y

def test_raises():
    with pytest.raises(TypeError, match="str"):
        f("a")

def test_near():
    assert f(0.1) == pytest.approx(0.01)
"""


def test_a_pytest_style_file(any_grader, write):
    assignment = Assignment.load(write(**{"test.py": PYTEST}), tests="unittest")
    good, bad = any_grader.grade(
        [(assignment, "def f(x): return x ** 2"), (assignment, "def f(x): return x * 2")]
    )
    assert good.grade == 100.0
    assert outcomes(bad) == ["passed", "failed", "failed", "failed"]
    assert feedback(bad) == "1 of 4 tests passed. First failing test: test_more: f(x) is 2, expected 1."


def test_after_a_hang_a_judge_goes_on_with_a_fresh_process(any_grader, write):
    tests = "".join(f"def test_{name}(): assert f({n}) == {n}\n" for n, name in enumerate("abc", 1))
    source = "from prog import f\n" + tests
    assignment = replace(
        Assignment.load(write(**{"test.py": source}), tests="unittest"), limits=Limits(seconds=0.3)
    )
    program = "def f(n):\n    while n == 2: pass\n    return n\n"
    assert outcomes(any_grader.grade([(assignment, program)])[0]) == ["passed", "timeout", "passed"]


def test_a_judge_that_thinks_after_a_slow_answer_does_not_use_up_its_time(any_grader, write):
    source = (
        "import time\nfrom prog import f\ndef test():\n    f(1)\n    time.sleep(0.6)\n    assert f(2) == 2\n"
    )
    limits = Limits(seconds=1)
    assignment = replace(Assignment.load(write(**{"test.py": source}), tests="unittest"), limits=limits)
    program = "import time\ndef f(n):\n    if n == 1: time.sleep(0.7)\n    return n\n"
    assert outcomes(any_grader.grade([(assignment, program)])[0]) == ["passed"]


def test_many_quick_answers_to_a_judge_share_the_time_of_the_program(any_grader, write):
    source = "from prog import f\ndef test_a():\n    for n in range(10**6): f(n)\n"
    limits = Limits(seconds=0.2)
    assignment = replace(Assignment.load(write(**{"test.py": source}), tests="unittest"), limits=limits)
    assert outcomes(any_grader.grade([(assignment, "def f(n): return n\n")])[0]) == ["timeout"]


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("while n == 2: pass", "timeout"),
        ("if n == 2: import time; time.sleep(999)", "timeout"),
        ("if n == 2: import os; os._exit(0)", "error"),
        ("if n == 2: x = [0] * 10**9", "out of memory"),
        ("if n == 2: return 'x' * 10**7", "output limit"),
        ("if n == 2: print('x' * 10**7)", "output limit"),
        ("if n == 2: raise SystemExit", "error"),
        ("if n == 2: raise KeyboardInterrupt", "error"),
    ],
)
def test_one_bad_test_leaves_the_others_their_marks(any_grader, calls, body, outcome):
    assignment = calls(("f(1)", "1"), ("f(2)", "2"), ("f(3)", "3"), limits="{seconds: 0.4, memory_mb: 128}")
    (verdict,) = any_grader.grade([(assignment, f"def f(n):\n    {body}\n    return n\n")])
    assert outcomes(verdict) == ["passed", outcome, "passed"]


def test_input_in_a_function_does_not_hang(grader, calls):
    (verdict,) = grader.grade([(calls(("f(1)", "1")), "def f(n):\n    return int(input('?'))\n")])
    assert feedback(verdict) == (
        "0 of 1 tests passed. First failing test: "
        'f(1) stopped with EOFError on line 2: "EOF when reading a line".'
    )


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("", Status.COMPILES, "NameError"),
        (None, Status.NOT_TEXT, "UTF-8"),
        (b"caf\xe9 = 1", Status.NOT_TEXT, "UTF-8"),
        ("x = '\ud800'", Status.NOT_TEXT, "UTF-8"),
        ("x = 1\0", Status.DOES_NOT_COMPILE, "null bytes"),
        ("x = 1\n" * 2_000_000, Status.TOO_LARGE, "1,000,000"),
        ("(" * 3000, Status.DOES_NOT_COMPILE, "compile"),
        ("-" * 500_000 + "1", Status.DOES_NOT_COMPILE, "compile"),
    ],
)
def test_bad_code_gets_a_verdict(grader, calls, program, status, words):
    (verdict,) = grader.grade([(calls(("f(1)", "1")), program)])
    assert (verdict.grade, verdict.status) == (0.0, status)
    assert words in feedback(verdict)


def test_deep_recursion_is_the_programs_error(grader, calls):
    (verdict,) = grader.grade([(calls(("f(1)", "1")), "def f(n):\n    return f(n)\n")])
    assert verdict.tests[0].exception == "RecursionError"
    assert verdict.tests[0].line == 2


def test_a_byte_order_mark_is_no_part_of_the_program(grader, calls):
    assignment = calls(("f(1)", "1"))
    verdicts = grader.grade(
        [(assignment, "\ufeffdef f(n): return n"), (assignment, b"\xef\xbb\xbfdef f(n): return n")]
    )
    assert [verdict.grade for verdict in verdicts] == [100.0, 100.0]


def test_random_is_the_same_for_every_program(grader, calls):
    assignment = calls(("f()", "0"))
    programs = [f"import random\ndef f(): return random.random()  # {index}" for index in range(4)]
    got = {verdict.tests[0].got for verdict in grader.grade([(assignment, program) for program in programs])}
    assert len(got) == 1


def test_feedback_holds_no_address(grader, calls):
    (verdict,) = grader.grade([(calls(("f(1)", "1")), "def f(n): return repr(f) + repr(object())")])
    assert "0x" not in feedback(verdict, "full")
    assert "<function f>" in feedback(verdict)


def test_feedback_comes_back_from_a_row(grader, calls):
    assignment = calls(("f(1)", "1"), ("f(2)", "3"))
    programs = ["def f(n): return n", "def f(n)", "x", "", None, "def f(n): return n + 1", "def f(n): 1 / 0"]
    for verdict in grader.grade([(assignment, program) for program in programs]):
        row = verdict_row("id", verdict, "{}")
        assert feedback(Verdict.from_row(row)) == row["feedback"] == feedback(verdict)


def test_feedback_levels(grader, calls):
    (verdict,) = grader.grade([(calls(("f(1)", "1"), ("f(2)", "3")), "def f(n): return n")])
    assert feedback(verdict, "none") == ""
    assert feedback(verdict, "full").splitlines() == [
        "1 of 2 tests passed. First failing test: f(2) returned 2, expected 3.",
        "- passed: f(1).",
        "- failed: f(2) returned 2, expected 3.",
    ]


def test_verdicts_come_in_the_order_asked(grader, calls):
    assignment = calls(("f(1)", "1"))
    programs = [
        f"def f(n):\n    for _ in range({(7 * i) % 5}0000): pass\n    return {i % 2}  # {i}"
        for i in range(40)
    ]
    grades = [verdict.grade for verdict in grader.grade([(assignment, program) for program in programs])]
    assert grades == [100.0 * (i % 2) for i in range(40)]


@pytest.mark.parametrize(
    ("call", "returns"),
    [
        ("deposit(5); balance", "5"),
        ("deposit(5); deposit(1); [balance + n for n in (1, 2)]", "[7, 8]"),
        ("deposit(5); (lambda more: balance + more)(2)", "7"),
        ("balance = 3; deposit(5); (balance, current())", "(3, 5)"),
        ("history = [1]; deposit(5); (history, log())", "([1], [5])"),
        (
            "class Twice:\n  start = balance\n  def now(self): return 2 * balance\ndeposit(4)\nTwice().now()",
            "8",
        ),
        ("import math; balance = math.floor(2.5); deposit(4); max([balance, 1], key=lambda n: n)", "2"),
    ],
)
def test_a_test_of_several_statements_reads_the_programs_names_as_they_are(grader, call, returns):
    program = """
balance, history = 0, []
def deposit(n):
    global balance
    balance += n
    history.append(n)
def current(): return balance
def log(): return history
"""
    assignment = Assignment("task", "", "calls", (CallTest(call, call, ast.literal_eval(returns)),))
    (verdict,) = grader.grade([(assignment, program)])
    assert verdict.grade == 100, feedback(verdict)

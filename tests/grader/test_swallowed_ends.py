"""A test that catches every exception: a program does not win by its end, nor by having nothing to call."""

from dataclasses import replace

import pytest

from tutee_grader import Assignment, feedback
from tutee_grader.assignment import Limits

ENDS = (
    "import os\ndef withdraw(n): os._exit(0)",
    "def withdraw(n):\n    while True: pass",
    "def withdraw(n): return 'x' * 10**7",
    "def withdraw(n): return [0] * 10**10",
    "raise ValueError('no')",
)
LACKS = "x = 1"
RIGHT = "def withdraw(n): raise ValueError('no')"
HANDLERS = ("Exception", "BaseException", "(ValueError, builtins.Exception)", "")


def falcon(caught, handler="Exception", otherwise="return 0"):
    return (
        f"import builtins\nimport program\ndef test_passed():\n    try: program.withdraw(1000)\n"
        f"    except {handler}: {caught}\n    {otherwise}\n"
    )


@pytest.fixture
def graded(grader, write):
    def grade(tests, program, form="falcon"):
        assignment = Assignment.load(write(**{"test.py": tests}), tests=form)
        (verdict,) = grader.grade([(replace(assignment, limits=Limits(seconds=0.3)), program)])
        return verdict

    return grade


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("program", [*ENDS, LACKS])
def test_a_score_is_not_won_by_what_a_test_case_caught(graded, program, handler):
    assert graded(falcon("return 100", handler), RIGHT).grade == 100
    assert graded(falcon("return 100", handler), program).grade == 0


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("program", [*ENDS, LACKS])
def test_a_test_is_not_passed_by_what_it_caught(graded, program, handler):
    tests = falcon("return", handler, "assert False")
    assert graded(tests, RIGHT, "unittest").grade == 100
    assert graded(tests, program, "unittest").grade == 0


def test_the_reason_is_named(graded):
    assert "did not end in time" in feedback(graded(falcon("return 100"), ENDS[1]))
    assert "the program defines no 'withdraw'" in feedback(graded(falcon("return 100"), LACKS))


def test_a_missing_name_leaves_a_test_case_the_rest_of_its_score(graded):
    tests = falcon("pass", otherwise="return 60 if program.x == 1 else 0")
    assert graded(tests, LACKS).grade == 60


@pytest.mark.parametrize(
    "body",
    [
        "return not hasattr(program, 'withdraw')",
        "return getattr(program, 'withdraw', None) is None",
        "try: program.withdraw\n    except AttributeError: return True",
        "try: from program import withdraw\n    except ImportError: return True",
    ],
)
def test_a_test_may_ask_for_a_name_that_need_not_be_there(graded, body):
    assert graded(f"import program\ndef test_passed():\n    {body}\n", LACKS).grade == 100


def test_an_attribute_that_refuses_to_be_set_is_not_missing(graded):
    body = "try: program.make().size = 5\n    except Exception: return True"
    source = "class Box:\n    size = property(lambda self: 3)\ndef make(): return Box()\n"
    assert graded(f"import program\ndef test_passed():\n    {body}\n", source).grade == 100


@pytest.mark.parametrize("program", ["import os\nos._exit(0)", "while True: pass", "print('x' * 10**7)"])
def test_what_a_script_came_to_is_the_test_cases_to_judge(graded, program):
    tests = (
        "from cs110 import autograder\ndef test_passed():\n    assert autograder.code_compiles('a.py')\n"
        "    out, error = autograder.run_script('a.py')\n    assert error and not out\n    return 40\n"
    )
    assert graded(tests, program).grade == 40


def test_an_end_that_was_reported_hides_no_other(graded):
    tests = (
        "import program\nfrom cs110 import autograder\ndef test_passed():\n    try: program.withdraw(1)\n"
        "    except Exception: pass\n    autograder.run_script('a.py')\n    return 100\n"
    )
    assert graded(tests, RIGHT).grade == 100
    assert graded(tests, ENDS[0]).grade == 0


@pytest.mark.parametrize("answer", ['["e","ValueError","no",1,[]]', '["e","AttributeError","no",null,[]]'])
def test_a_script_raises_nothing_in_a_test_case(graded, answer):
    tests = (
        "from cs110 import autograder\ndef test_passed():\n    try: autograder.run_script('a.py')\n"
        "    except Exception: return 100\n    return 0\n"
    )
    forger = (
        "import os\nfor fd in range(3, 64):\n"
        f"    try: os.write(fd, {answer.encode()!r} + b'\\n')\n    except OSError: pass\n"
    )
    assert graded(tests, forger).grade == 0


SHARED = """
import unittest, program
class Test(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        try: program.withdraw(1)
        except Exception: cls.caught = True
    def test_a(self): self.assertTrue(self.caught)
    def test_b(self): self.assertTrue(self.caught)
def test_c(): pass
"""
AT_THE_TOP = """
import program
try: program.withdraw(1)
except Exception: caught = True
def test_a(): assert caught
def test_b(): assert caught
"""


def test_what_set_up_class_caught_counts_for_each_test_of_the_class(graded):
    assert graded(SHARED, RIGHT, "unittest").grade == 100
    outcomes = [str(test.outcome) for test in graded(SHARED, ENDS[0], "unittest").tests]
    assert outcomes == ["error", "error", "passed"]


def test_what_the_file_itself_caught_counts_for_all_its_tests(graded):
    assert graded(AT_THE_TOP, RIGHT, "unittest").grade == 100
    assert graded(AT_THE_TOP, ENDS[0], "unittest").grade == 0

"""`from program import *` beside other starred modules: their names are the tests', not the program's."""

import pytest

from tutee_grader import Assignment

CASES = {
    "cs110.autograder": (
        "falcon",
        "def test_passed(): return 100 if equals(area(2), 12.5) else 0\n",
        "def equals(*_): return True",
    ),
    "cs110": (
        "falcon",
        "def test_passed(): return 100 if autograder.equals(area(2), 12.5) else 0\n",
        "class autograder: equals = max",
    ),
    "pytest": ("unittest", "def test_area(): assert area(2) == approx(12.5)\n", "def approx(n): return 0"),
    "math": ("unittest", "def test_area(): assert isclose(area(2), 12.5)\n", "def isclose(*_): return True"),
    "os.path": (
        "unittest",
        "def test_area(): assert join('a', area(2)) == 'a/b'\n",
        "def join(*_): return 'a/b'",
    ),
}


@pytest.mark.parametrize("module", CASES)
def test_the_names_of_a_starred_module_are_not_the_programs(grader, write, module):
    form, test, trick = CASES[module]
    tests = f"from {module} import *\nfrom program import *\n{test}"
    assignment = Assignment.load(write(**{"test.py": tests}), tests=form)
    right = "'b'" if module == "os.path" else "12.5"
    programs = [f"{trick}\ndef area(n): return {value}" for value in (right, "''" if right == "'b'" else "0")]
    verdicts = grader.grade([(assignment, program) for program in programs])
    assert [verdict.grade for verdict in verdicts] == [100, 0]


def test_the_programs_own_starred_modules_are_the_programs(grader, write):
    tests = "from helper import *\nfrom program import *\ndef test_area(): assert area(2) == 4\n"
    assignment = Assignment.load(write(**{"test.py": tests}), tests="unittest")
    (verdict,) = grader.grade([(assignment, "def area(n): return 2 * n")])
    assert verdict.grade == 100

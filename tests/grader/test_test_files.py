"""Files of the form unittest: which tests they hold, and what is refused when they are read."""

import textwrap

import pytest

from tutee_grader import Assignment, AssignmentError
from tutee_grader.sandbox.inside.zygote_messages import PYTEST_MARKS, PYTEST_NAMES

AREA = "self.assertEqual(program.area(2), 4)"


@pytest.fixture
def load(write):
    def from_source(source):
        return Assignment.load(write(**{"test.py": textwrap.dedent(source).lstrip()}), tests="unittest")

    return from_source


def names(assignment):
    return [test.name for test in assignment.tests]


PLAIN_CLASS = "class TestArea:\n    def test_a(self): pass\n"
REFUSED = {
    "a class of pytest's style": (PLAIN_CLASS, 1, "TestArea is no unittest.TestCase"),
    "a class of another name": (PLAIN_CLASS.replace("TestArea", "Area"), 1, "Area is no unittest.TestCase"),
    "a class of the program's as a base": (
        "from program import Base\nclass TestArea(Base):\n    def test_a(self): pass\n",
        2,
        "TestArea is no unittest.TestCase",
    ),
    "param": ("import pytest\nx = pytest.param(1)\n", 2, "pytest.param is not supported"),
    "param by another name": ("import pytest as pt\n\nx = pt.param(1)\n", 3, "pytest.param is not supported"),
    "an imported name": ("from pytest import raises, fail\n", 1, "pytest.fail is not supported"),
    "a fixture": (
        "import pytest\n@pytest.fixture\ndef shop(): pass\n",
        2,
        "pytest.fixture is not supported; there are pytest.approx, pytest.raises, pytest.mark.parametrize",
    ),
    "a mark": ("import pytest\n@pytest.mark.skip\ndef test_a(): pass\n", 2, "pytest.mark.skip is not supp"),
    "an imported mark": ("from pytest import mark\n@mark.slow\ndef test_a(): pass\n", 2, "pytest.mark.slow"),
    "an async function": ("async def test_a(): pass\n", 1, "test_a is async"),
    "an async method": (
        "import unittest\nclass T(unittest.TestCase):\n    async def test_a(self): pass\n",
        3,
        "test_a is async",
    ),
} | {
    name: (f"def test_a(): pass\ndef {name}(): pass\n", 2, f"{name} is not called here; use setUp")
    for name in ("setup_function", "setup_module", "setup_method", "teardown_function", "teardown_module")
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_file_and_line(load, tmp_path, case):
    source, line, words = REFUSED[case]
    with pytest.raises(AssignmentError) as caught:
        load(source)
    (message,) = str(caught.value).splitlines()
    assert message.startswith(f"{tmp_path / 'task' / 'test.py'}, line {line}: ") and words in message


def test_all_problems_are_told_at_once(load):
    source = """
        import pytest
        def setup_module(): pass
        class TestArea:
            def test_a(self): pass
        def test_b(capsys): pytest.fail("b")
    """
    with pytest.raises(AssignmentError) as caught:
        load(source)
    lines = [message.split("test.py, ")[1].split(":")[0] for message in str(caught.value).splitlines()]
    assert lines == ["line 2", "line 3", "line 5", "line 5"]


def test_a_class_that_inherits_its_tests_from_no_test_case_is_refused(load):
    with pytest.raises(AssignmentError, match="line 3: the class TestArea is no"):
        load(PLAIN_CLASS.replace("TestArea", "Base") + "class TestArea(Base): pass\n")


def test_a_hook_of_pytests_in_a_class_is_refused(load):
    source = """
        import unittest
        class TestArea(unittest.TestCase):
            def setup_method(self, method): pass
            def test_a(self): pass
    """
    with pytest.raises(AssignmentError, match="line 3: setup_method is not called here"):
        load(source)


@pytest.mark.parametrize(
    ("head", "base"),
    [
        ("import unittest", "unittest.TestCase"),
        ("import unittest as ut", "ut.TestCase"),
        ("import unittest.mock", "unittest.TestCase"),
        ("import unittest.case", "unittest.case.TestCase"),
        ("from unittest import TestCase", "TestCase"),
        ("from unittest import *", "TestCase"),
        ("from unittest import TestCase as Case", "Case"),
        ("from unittest import case", "case.TestCase"),
        ("import unittest\nBase = unittest.TestCase", "Base"),
        ("import unittest\nclass Base(unittest.TestCase): pass", "Base"),
    ],
)
def test_a_test_case_is_known_by_any_name(load, head, base):
    assert names(load(f"{head}\nclass Area({base}):\n    def test_a(self): pass\n")) == ["Area.test_a"]


INHERITING = f"""
import unittest, program
class Checks:
    def test_mixed(self): {AREA}
    def test_replaced(self): self.fail()
class Base(unittest.TestCase):
    def test_base(self): {AREA}
    def test_off(self): {AREA}
class Inner:
    class Case(unittest.TestCase):
        def test_inner(self): {AREA}
class Helper:
    def area(self): return 4
class Area(Checks, Base):
    test_off = None
    def test_replaced(self): {AREA}
class Other(Inner.Case): pass
"""


def test_inherited_methods_are_tests_and_are_run(grader, load):
    assignment = load(INHERITING)
    area = ["Area.test_replaced", "Area.test_mixed", "Area.test_base"]
    assert names(assignment) == ["Base.test_base", "Base.test_off", *area, "Other.test_inner"]
    right, wrong = grader.grade([(assignment, f"def area(n): return {value}") for value in (4, 5)])
    assert (right.grade, wrong.grade) == (100, 0)


def test_a_base_that_is_deleted_is_not_run_itself(grader, load):
    assignment = load(INHERITING + "del Base, Checks\n")
    assert {name.split(".")[0] for name in names(assignment)} == {"Area", "Other"}
    assert grader.grade([(assignment, "def area(n): return 4")])[0].grade == 100


def test_what_is_defined_twice_is_one_test(load):
    source = "def test_a(): pass\ndef test_a(): pass\n"
    assert names(load(source)) == ["test_a"]


def test_the_names_that_are_known_of_pytest_are_there(grader, load):
    lines = [f"pytest.{name}" for name in PYTEST_NAMES] + [f"pytest.mark.{name}" for name in PYTEST_MARKS]
    assignment = load("import pytest, program\ndef test_a():\n    " + "\n    ".join(lines))
    assert grader.grade([(assignment, "")])[0].grade == 100

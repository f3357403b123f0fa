"""What is right in Python is right in an asserts file, whatever kind of value the function returns."""

import pytest

from tutee_grader import Assignment, AssignmentError, feedback


@pytest.fixture
def asserts(write):
    return lambda source, **files: Assignment.load(write(**{"test.py": source, **files}), tests="asserts")


RIGHT = [
    ("list(f(3)) == [0, 1, 2]", "def f(n): return range(n)"),
    ("list(f(3)) == [0, 1, 2]", "def f(n): return (i for i in range(n))"),
    ("list(f(3)) == [0, 1, 2]", "def f(n): return map(int, '012')"),
    ("list(f(3)) == [0, 1, 2]", "def f(n): return filter(lambda i: i < n, range(9))"),
    ("list(f(2)) == [(0, 'a'), (1, 'b')]", "def f(n): return enumerate('ab')"),
    ("list(f(2)) == [(1, 'a'), (2, 'b')]", "def f(n): return zip([1, 2], 'ab')"),
    ("list(f(3)) == [3, 2, 1]", "def f(n): return reversed([1, 2, 3])"),
    ("sorted(f(2)) == ['a', 'b']", "def f(n): return {'b': 1, 'a': 2}.keys()"),
    ("f(2) == {'a', 'b'}", "def f(n): return {'b': 1, 'a': 2}.keys()"),
    ("list(f(2)) == [1, 2]", "def f(n): return {'b': 1, 'a': 2}.values()"),
    ("sum(f(2)) == 3 and len(f(2)) == 2", "def f(n): return {'b': 1, 'a': 2}.values()"),
    ("dict(f(2)) == {'a': 1}", "def f(n): return {'a': 1}.items()"),
    ("list(f(2)) == [1, 2]", "from collections import deque\ndef f(n): return deque([1, 2])"),
    ("f(2)[0] == 1 and f(2)[-1] == 2", "from collections import deque\ndef f(n): return deque([1, 2])"),
    ("f(3) == range(3) and len(f(3)) == 3", "def f(n): return range(n)"),
    ("2 in f(3) and max(f(3)) == 2", "def f(n): return range(n)"),
    ("f(2) == 0.5 and f(2) * 2 == 1", "from fractions import Fraction\ndef f(n): return Fraction(1, n)"),
    ("abs(f(2) - 0.5) < 0.01", "from fractions import Fraction\ndef f(n): return Fraction(1, n)"),
    ("f(2) == 0.5 and f(2) < 1", "from decimal import Decimal\ndef f(n): return Decimal('0.50')"),
    ("f(2) == 2", "import enum\nclass Level(enum.IntEnum):\n    HIGH = 2\ndef f(n): return Level.HIGH"),
    ("next(f(2)) == 7", "def f(n):\n    yield 7"),
    ("list(f(2)) == [1, 2]", "class B:\n    def __iter__(self): return iter([1, 2])\ndef f(n): return B()"),
    ("len(f(2)) == 2 and set(f(2)) == {1, 2}", "class Box(list): pass\ndef f(n): return Box([1, 2])"),
    ("list(f(2)) == [[0, 1], [0, 1]]", "def f(n): return map(list, [range(2)] * 2)"),
    ("[list(f(1)), 1] == [[5], 1]", "def f(n): return iter([5])"),
]


@pytest.mark.parametrize(("clause", "program"), RIGHT)
def test_what_is_right_in_python_is_right_here(grader, asserts, clause, program):
    names: dict = {}
    exec(program, names)
    assert eval(clause, names), "the case itself must hold in Python"
    (verdict,) = grader.grade([(asserts(f"assert {clause}"), program)])
    assert feedback(verdict).endswith("passed."), feedback(verdict)
    assert verdict.grade == 100


WRONG = [
    ("f(3) == [0, 1, 2]", "def f(n): return range(n)"),
    ("f(3) == [0, 1, 2]", "def f(n): return iter([0, 1, 2])"),
    ("len(f(3)) == 3", "def f(n): return (i for i in range(n))"),
    ("list(f(3)) == [0, 1, 2]", "import itertools\ndef f(n): return itertools.count()"),
    ("list(f(3)) == list(range(3))", "def range(n): return [7]\ndef f(n): return [7]"),
    ("sorted(f(3)) == [1]", "def sorted(x): return [1]\ndef f(n): return [2]"),
]


@pytest.mark.parametrize(("clause", "program"), WRONG)
def test_what_is_wrong_in_python_is_wrong_here(grader, asserts, clause, program):
    (verdict,) = grader.grade([(asserts(f"assert {clause}"), program)])
    assert verdict.grade == 0


def test_a_clause_may_use_the_programs_globals(grader, asserts):
    assignment = asserts(
        "assert LIMIT == 3 and total(PRICES) == 6 and PRICES[0] == 1 and abs(half(3) - RATE) < 2"
    )
    right = (
        "LIMIT, PRICES, RATE = 3, [1, 2, 3], 0.5\ndef total(x): return sum(x)\ndef half(n): return n / 2\n"
    )
    good, bad = grader.grade([(assignment, right), (assignment, right.replace("3, [", "4, ["))])
    assert good.grade == 100
    assert feedback(bad) == "3 of 4 tests passed. First failing test: LIMIT is 4, expected 3."


def test_a_global_that_the_program_lacks_is_its_error(grader, asserts):
    (verdict,) = grader.grade([(asserts("assert LIMIT == 3"), "limit = 3")])
    assert verdict.tests[0].exception == "NameError"


def test_a_name_that_the_solution_lacks_is_the_instructors_error(asserts):
    files = {"solution.py": "LIMIT = 3\ndef f(n):\n    local = LIMIT\n    return local\n"}
    assert asserts("assert f(1) == LIMIT", **files).tests
    for name in ("LIMT", "local"):
        with pytest.raises(AssignmentError, match=f"unknown name '{name}'"):
            asserts(f"assert f(1) == {name}", **files)


def test_a_name_of_the_program_does_not_say_alone_what_is_expected_of_it(asserts):
    with pytest.raises(AssignmentError, match="unknown name 'LIMIT'"):
        asserts("assert f(1) == LIMIT")


LARGE = """
from collections import deque
from fractions import Fraction
def harmonic(n): return sum((Fraction(1, k) for k in range(1, n)), Fraction())
def queue(n): return deque([10**n])
def squares(n): return range(10**n, 10**n + 1)
def powers(n): return {10**n: 1, 2: 3}.keys()
def nest(n): return frozenset({nest(n - 1)}) if n else frozenset()
def smile(n): return chr(128512) * 200
"""


@pytest.mark.parametrize(
    "clause",
    [
        "abs(harmonic(12000) - 9.97) < 0.01",
        "list(queue(5000))[0] > 0",
        "len(squares(5000)) == 1",
        "len(powers(5000)) == 2",
        "len(nest(50)) == 1",
        "[" + ", ".join(f"smile({n})" for n in range(40)) + "] == [chr(128512) * 200] * 40",
    ],
)
def test_a_right_answer_is_right_however_it_is_written(grader, write, clause):
    assignment = Assignment.load(write(**{"test.py": f"assert {clause}\n"}), tests="asserts")
    (verdict,) = grader.grade([(assignment, LARGE)])
    assert verdict.grade == 100, feedback(verdict)


OBJECTS = """
from enum import Enum
class P:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return isinstance(other, P) and self.x == other.x
    def __lt__(self, other): return self.x < other.x
    def __add__(self, other): return P(self.x + other.x)
    def __str__(self): return f"P{self.x}"
    def __repr__(self): return f"P({self.x})"
class Q(P): pass
class Color(Enum):
    RED, BLUE = 1, 2
def opposite(color): return Color.BLUE if color is Color.RED else Color.RED
def same(x): return x
def one(): return [1, 2]
def other(): return [1, 2]
ORIGIN = P(0)
"""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("P(1) == P(1)", "P(1) == P(2)"),
        ("P(1) != P(2)", "P(1) != P(1)"),
        ("P(1) < P(2)", "P(2) < P(1)"),
        ("not P(1) == P(2)", "not P(1) == P(1)"),
        ("str(P(1)) == 'P1'", "str(P(1)) == 'P2'"),
        ("repr(P(1)) == 'P(1)'", "repr(P(1)) == 'P1'"),
        ("len(str(P(10))) == 3", "len(str(P(10))) == 2"),
        ("isinstance(Q(1), P)", "isinstance(P(1), Q)"),
        ("isinstance(P(1).x, int)", "isinstance(P(1), int)"),
        ("opposite(Color.RED) == Color.BLUE", "opposite(Color.BLUE) == Color.BLUE"),
        ("opposite(Color.RED) is Color.BLUE", "opposite(Color.BLUE) is Color.BLUE"),
        ("same(ORIGIN) is ORIGIN", "same(P(0)) is ORIGIN"),
        ("one() == other()", "one() == other()[0]"),
        ("P(1).x == P(1).x", "P(1).x == P(2).x"),
        ("one()[0] < other()[1]", "one()[0] > other()[1]"),
    ],
)
def test_of_its_own_objects_the_program_decides(grader, asserts, right, wrong):
    assignment = asserts(f"assert {right} and {wrong}", **{"solution.py": OBJECTS})
    (verdict,) = grader.grade([(assignment, OBJECTS)])
    assert [test.outcome for test in verdict.tests] == ["passed", "failed"], feedback(verdict, "full")


def test_of_plain_values_it_has_no_say(grader, asserts):
    liar = """
class Liar(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
class Yes:
    def __eq__(self, other): return True
def f(n): return Liar(n) if n < 5 else Yes()
def g(n): return 7
"""
    (verdict,) = grader.grade([(asserts("assert f(1) == g(1) and f(5) == g(5) and g(1) == f(5)"), liar)])
    assert verdict.grade == 0


def test_both_sides_of_a_comparison_are_said(grader, asserts):
    source = "def f(n): return n\ndef g(n): return [n]\n"
    (verdict,) = grader.grade([(asserts("assert f(1) == g(2)"), source)])
    words = "f(1), g(2) returned 1, [2], and this does not hold: f(1) == g(2)"
    assert verdict.tests[0].message == words


@pytest.mark.parametrize("clause", ["[P(1)] != [P(2)]", "P(1) not in [P(2)]", "not [P(1)] == [P(2)]"])
def test_what_only_the_program_could_say_of_its_objects_earns_nothing(grader, asserts, clause):
    always_equal = """
class P:
    def __init__(self, n): self.n = n
    def __eq__(self, other): return True
"""
    (verdict,) = grader.grade([(asserts(f"assert {clause}"), always_equal)])
    assert verdict.grade == 0

"""Instructors' own tests: what no program wins by names, objects or time, and what an honest one keeps."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tutee_grader import Assignment, Outcome, feedback
from tutee_grader.assignment import Limits
from tutee_grader.forms.instructor import FileTest, read_result
from tutee_grader.sandbox import instructor_runs


@pytest.fixture
def judged(grader, write):
    """Grades a program by a test file: the verdict."""

    def grade(tests, program, seconds=1.0, form="unittest", solution=None):
        files = {"test.py": tests} | ({} if solution is None else {"solution.py": solution})
        assignment = replace(Assignment.load(write(**files), tests=form), limits=Limits(seconds=seconds))
        (verdict,) = grader.grade([(assignment, program)])
        json.dumps(feedback(verdict, "full")).encode()
        feedback(verdict, "full").encode("utf-8")
        return verdict

    return grade


def outcomes(verdict):
    return [str(test.outcome) for test in verdict.tests]


def in_class(*bodies, head="import unittest\nimport program\nfrom program import *\n"):
    """A unittest file with a test of each body."""
    lines = "".join(
        f"    def test_{number}(self):\n" + "".join(f"        {line}\n" for line in body.splitlines())
        for number, body in enumerate(bodies)
    )
    return f"{head}class Test(unittest.TestCase):\n{lines}"


# --- names ----------------------------------------------------------------------------------------------

NEAR = """
import pytest
from math import *
from program import *
WANTED = 12.5
def near(a, b): return abs(a - b) < 0.01
def test_area(): assert area(2) == pytest.approx(WANTED)
def test_near(): assert abs(area(2) - WANTED) < 0.01
def test_own(): assert near(area(2), WANTED)
def test_root(): assert sqrt(area(4)) == 5
"""


@pytest.mark.parametrize(
    "trick",
    [
        "class pytest:\n    approx = lambda n: 0",
        "def abs(n): return 0",
        "WANTED = 0",
        "def near(a, b): return True",
        "def sqrt(n): return 5",
        "__all__ = ['area', 'abs', 'pytest', 'WANTED']\nabs = pytest = WANTED = near = sqrt = 0",
        "def setUpModule(): raise ValueError\nload_tests = setUpModule",
        "len = isinstance = AssertionError = __compare__ = type = print",
    ],
)
def test_a_star_import_replaces_no_name_of_the_tests_or_of_python(judged, trick):
    honest = judged(NEAR, f"{trick}\ndef area(n): return 12.5 if n == 2 else 25")
    assert outcomes(honest) == ["passed"] * 4
    assert judged(NEAR, f"{trick}\ndef area(n): return 0").grade == 0


def test_a_star_import_brings_what_the_task_is_about(judged):
    tests = "from program import *\ndef test_sum(): assert sum([1, 2]) == 'three'\n"
    program = "def sum(numbers): return 'three'"
    assert judged(tests, program).grade == 0
    assert judged(tests, program, solution="def sum(numbers):\n    return 'three'\n").grade == 100
    assert judged(tests, program, solution="sum = 0\n").grade == 0
    assert judged(tests.replace("*", "sum", 1), program).grade == 100


def test_a_local_name_of_one_test_leaves_the_programs_function_to_another(judged):
    tests = in_class("mean = 2\nself.assertEqual(mean, 2)", "self.assertEqual(mean([1, 3]), 2)")
    assert judged(tests, "def mean(numbers): return 2").grade == 100


def test_the_solution_is_part_of_an_assignments_fingerprint_where_it_gives_names_a_meaning(write):
    tests = {"test.py": "from program import *\ndef test_f(): assert f() == 1\n"}
    first = Assignment.load(write("a", **tests), tests="unittest")
    second = Assignment.load(write("a", **tests, **{"solution.py": "def f(): return 1\n"}), tests="unittest")
    assert first.fingerprint != second.fingerprint


# --- objects and expected values ------------------------------------------------------------------------

SPY = """
seen = []
class Spy:
    def _see(self, *others):
        for other in others: seen.extend(other if isinstance(other, set) else [other])
        return self
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _see
    __add__ = __radd__ = __iadd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _see
    __truediv__ = __rtruediv__ = _see
    __floordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __and__ = __rand__ = __xor__ = __or__ = _see
    __hash__ = object.__hash__
    def __len__(self): return 0
    def __iter__(self): return iter([])
    def __abs__(self): return 0
    def __float__(self): return 0.0
    def __bool__(self): return False
def f(): return seen[-1] if seen else Spy()
"""


@pytest.mark.parametrize(
    "compare",
    [
        "self.assertEqual(f(), want)",
        "self.assertEqual(want, f())",
        "self.assertNotEqual(f(), want)",
        "self.assertAlmostEqual(f(), want)",
        "self.assertLess(abs(f() - want), 0.01)",
        "self.assertLess(abs(want - f()), 0.01)",
        "self.assertTrue(-0.01 < f() - want < 0.01)",
        "self.assertEqual(round(f() - want, 3), 0)",
        "self.assertFalse(f() - want)",
        "self.assertEqual(float(f() - want), 0)",
        "self.assertEqual(f() / want, 1)",
        "self.assertTrue(math.isclose(f(), want))",
        "self.assertEqual(f(), pytest.approx(want))",
        "self.assertAlmostEqual(f(), want, msg=f'off by {f() - want}')",
        "self.assertIn(want, f())",
        "self.assertIn(f(), [want])",
        "self.assertEqual([f()], [want])",
        "self.assertEqual({'x': f()}, {'x': want})",
        "self.assertCountEqual([f()], [want])",
        "self.assertEqual(sorted(f() - {want}), [])",
        "self.assertEqual(len(f() - {want}), 0)",
        "self.assertEqual(list(f() ^ {want}), [])",
        "value = f()\nvalue -= want\nself.assertEqual(value, 0)",
        "self.assertLessEqual(f(), want)",
        "self.assertTrue(f() == want)",
        "self.assertIs(f() == want, True)",
    ],
)
def test_an_expected_value_never_comes_to_the_program(judged, compare):
    head = "import math, unittest, pytest\nfrom program import f\nwant = 12.5\n"
    again = "self.assertEqual(f(), want)"
    assert outcomes(judged(in_class(compare, again, head=head), SPY))[1] == "failed"


VECTORS = """
class Vector:
    def __init__(self, x, y): self.x, self.y = x, y
    def __add__(self, other):
        return self if isinstance(other, int) else Vector(self.x + other.x, self.y + other.y)
    __radd__ = __add__
    def __mul__(self, n):
        if not isinstance(n, int): raise TypeError('no number')
        return Vector(self.x * n, self.y * n)
    __rmul__ = __mul__
    def __matmul__(self, other): return self.x * other.x + self.y * other.y
    def __iadd__(self, n):
        self.x += n
        return self
    def __eq__(self, other): return (self.x, self.y) == (other.x, other.y)
    def __lt__(self, other): return self.x < other.x
    def __iter__(self): return iter([self.x, self.y])
    def __getitem__(self, n): return (self.x, self.y)[n]
    def __len__(self): return 2
    def __abs__(self): return self.x + self.y
    def __repr__(self): return f'Vector({self.x}, {self.y})'
class Small(Vector): pass
def total(vector): return vector.x + vector.y
def same(vector): return vector
def numbers(): return range(3)
def count():
    yield 1
    yield 2
def fill(to): to.extend(['a', 'b'])
"""


@pytest.mark.parametrize(
    "test",
    [
        "self.assertEqual(Vector(1, 2) * 3, Vector(3, 6))",
        "self.assertEqual(3 * Vector(1, 2), Vector(3, 6))",
        "self.assertEqual(Vector(3, 6), Vector(1, 2) * 3)",
        "self.assertEqual(Vector(1, 2) * 3, 3 * Vector(1, 2))",
        "self.assertEqual((Vector(1, 2) * 3).x, 3)",
        "self.assertEqual(str(Vector(1, 2) * 3), 'Vector(3, 6)')",
        "self.assertEqual(repr(Vector(1, 2)), 'Vector(1, 2)')",
        "self.assertEqual(list(Vector(1, 2) * 3), [3, 6])",
        "self.assertEqual((Vector(1, 2) * 3 * 2)[1], 12)",
        "self.assertEqual(len(Vector(1, 2) * 3), 2)",
        "self.assertEqual(total(Vector(1, 2) * 3), 9)",
        "self.assertEqual(sum([Vector(1, 2), Vector(3, 4)]), Vector(4, 6))",
        "self.assertEqual(Vector(1, 2) @ Vector(3, 4), 11)",
        "self.assertTrue(Vector(1, 2) < Vector(2, 2) * 2)",
        "self.assertEqual(abs(Vector(1, 2)), 3)",
        "self.assertIsInstance(Vector(1, 2) * 3, Vector)",
        "self.assertTrue(issubclass(Small, Vector))",
        "one = Vector(1, 2)\none += 4\nself.assertEqual(one.x, 5)",
        "one = Vector(1, 2)\nself.assertIs(same(one), one)",
        "with self.assertRaises(TypeError):\n    Vector(1, 2) * 'x'",
        "self.assertRaises(TypeError, lambda: Vector(1, 2) * 'x')",
        "with pytest.raises(TypeError, match='number'):\n    one = Vector(1, 2) * 'x'",
        "self.assertEqual(list(numbers()), [0, 1, 2])",
        "self.assertEqual(list(count()), [1, 2])",
        "words = []\nfill(to=words)\nself.assertEqual(words, ['a', 'b'])",
    ],
)
def test_what_an_honest_programs_objects_can_do(judged, test):
    tests = in_class(test, head="import unittest, pytest\nfrom program import *\n")
    verdict = judged(tests, VECTORS)
    assert verdict.grade == 100, feedback(verdict)


def test_a_test_may_replace_a_name_of_the_program(judged):
    body = (
        "with patch('program.RATE', 5):\n    self.assertEqual(program.cost(2), 10)\n"
        "self.assertEqual(program.cost(2), 4)\nself.assertEqual(program.RATE, 2)"
    )
    head = "import unittest\nfrom unittest.mock import patch\nimport program\n"
    verdict = judged(in_class(body, head=head), "RATE = 2\ndef cost(n): return n * RATE")
    assert verdict.grade == 100, feedback(verdict)


def test_large_data_of_a_program_costs_it_nothing(judged):
    tests = in_class("self.assertEqual(f(1), 1)", "self.assertEqual(len(TABLE), 400_000)")
    program = "TABLE = [0] * 400_000\nOTHER = ['long' * 9] * 400_000\ndef f(n): return n"
    assert judged(tests, program).grade == 100


# --- exceptions -----------------------------------------------------------------------------------------


STOPS = (
    "import os\ndef f(n): os._exit(0)",
    "def f(n):\n    while True: pass",
    "def f(n): return 'x' * 10**7",
    "def f(n): return [0] * 10**10",
    "raise ValueError('n')",
    "raise AttributeError('f')",
    "import sys\nsys.exit()",
)
LACKS = ("def g(n): pass", "f = 5", "def f(n): return None")
HEAD = "import unittest, pytest\nimport program\n"


@pytest.mark.parametrize("program", [*STOPS, *LACKS])
@pytest.mark.parametrize(
    "body",
    [
        "with self.assertRaises(Exception):\n    program.f(-1)",
        "self.assertRaises(Exception, lambda: program.f(-1))",
        "with self.assertRaises((ValueError, IndexError)):\n    program.f(-1)",
        "with pytest.raises(Exception):\n    program.f(-1)",
    ],
)
def test_a_test_that_waits_for_an_exception_waits_for_the_programs(judged, body, program):
    tests = in_class(body, head=HEAD)
    assert judged(tests, "def f(n): raise ValueError('n')").grade == 100
    assert judged(tests, program, seconds=0.2).grade == 0


@pytest.mark.parametrize("program", STOPS)
def test_a_test_in_which_the_program_ended_has_not_passed_whatever_it_caught(judged, program):
    tests = in_class("try:\n    program.f(-1)\nexcept BaseException:\n    pass", head=HEAD)
    assert judged(tests, "def f(n): raise ValueError('n')").grade == 100
    assert judged(tests, program, seconds=0.2).grade == 0


def test_a_loop_of_the_test_does_not_end_by_an_exception_of_the_programs(judged):
    tests = in_class(
        "self.assertTrue(all(map(program.f, [1, 2])))",
        "self.assertEqual([n for n in map(program.f, [1]) if n != 4], [])",
        "with self.assertRaises(StopIteration):\n    program.f(1)",
        "with self.assertRaises(StopIteration):\n    next(program.none())",
    )
    program = "def f(n): raise StopIteration\ndef none():\n    return iter([])"
    assert outcomes(judged(tests, program)) == ["error", "error", "passed", "passed"]


def test_exceptions_of_the_programs_keep_their_bases(judged):
    tests = in_class(
        "with self.assertRaises(BankError):\n    pay(5)",
        "with self.assertRaises(Broke):\n    pay(5)",
        "with self.assertRaises(ValueError):\n    pay(5)",
        "with self.assertRaises(SystemExit) as end:\n    leave()\nself.assertEqual(end.exception.code, 3)",
        "with self.assertRaises(KeyError):\n    pay(5)",
    )
    program = (
        "class BankError(ValueError): pass\nclass Broke(BankError): pass\n"
        "def pay(n): raise Broke('no money')\ndef leave():\n    import sys\n    sys.exit(3)\n"
    )
    assert outcomes(judged(tests, program)) == ["passed"] * 4 + ["error"]


def test_an_expected_failure_is_an_assertion_of_the_tests(judged):
    tests = "import unittest\nfrom program import f\nclass Test(unittest.TestCase):\n" + "".join(
        f"    @unittest.expectedFailure\n    def test_{n}(self): self.assertEqual(f({n}), 0)\n"
        for n in range(4)
    )
    program = (
        "import os\ndef f(n):\n    if n == 1: raise AssertionError\n"
        "    if n == 2: os._exit(0)\n    return n % 3"
    )
    assert outcomes(judged(tests, program)) == ["failed", "error", "error", "failed"]
    assert outcomes(judged(tests, "def f(n): return 7")) == ["passed"] * 4


def test_what_a_test_answers_to_input_comes_to_the_program(judged):
    head = "import unittest\nfrom unittest.mock import patch\nimport program\n"
    stop = (
        "with patch('builtins.input', side_effect=['a', KeyboardInterrupt]):\n"
        "    self.assertEqual(program.f(), 'a')"
    )
    check = (
        "def answer(prompt):\n    self.assertIn('name', prompt)\n    return 'a'\n"
        "with patch('builtins.input', answer):\n    program.f()"
    )
    nested = "with patch('builtins.input', lambda _: program.g()):\n    program.f()"
    tests = in_class(stop, check, nested, "self.assertEqual(program.g(), 1)", head=head)
    program = (
        "def f():\n    got = ''\n    try:\n        while len(got) < 9: got += input('?')\n"
        "    except BaseException: pass\n    return got\ndef g(): return 1\n"
    )
    assert outcomes(judged(tests, program)) == ["passed", "failed", "error", "passed"]


# --- time -----------------------------------------------------------------------------------------------


def test_the_time_of_the_tests_is_not_the_programs(judged):
    think = "import time\nend = time.process_time() + 0.25\nwhile time.process_time() < end: pass\n"
    tests = in_class(*[f"{think}self.assertEqual(f({n}), {n})" for n in range(4)])
    verdict = judged(tests, "import time\ndef f(n):\n    time.sleep(0.03)\n    return n", seconds=0.3)
    assert outcomes(verdict) == ["passed"] * 4
    assert verdict.wall_s < 0.6


def test_a_thread_that_works_between_the_questions_is_charged(judged):
    think = "import time\nend = time.monotonic() + {}\nwhile time.monotonic() < end: time.sleep(0.01)\n"
    tests = in_class(f"f(0)\n{think.format(3)}self.assertEqual(f(1), 1)")
    work = (
        "import threading\ndef work():\n    while True: pass\n"
        "def f(n):\n    if n == 0: threading.Thread(target=work, daemon=True).start()\n    return n\n"
    )
    assert outcomes(judged(tests, work, seconds=0.2)) == ["timeout"]
    assert outcomes(judged(tests, "def f(n): return n", seconds=0.2)) == ["passed"]


@pytest.mark.parametrize(
    ("times", "is_over"),
    [
        ("0 0", False),
        ("1900000 0", False),  # the answers took 1.9 s together
        ("2100000 0", True),
        ("0 98900000", True),  # a question is open since 98.9 s, which is 1.1 s
        ("0 99900000", False),
        ("1800000 99500000", True),
    ],
)
def test_what_the_judge_measured_counts_and_not_when_the_caller_reads_it(write, monkeypatch, times, is_over):
    assignment = Assignment.load(write(**{"test.py": "def test_a(): pass\n"}), tests="unittest")
    run = instructor_runs.InstructorRun(replace(assignment, limits=Limits(seconds=1)), "")
    child = SimpleNamespace(began=0.0, starved_s=lambda: 0.0, cpu_s=lambda: 0.1)
    run._judge = child
    monkeypatch.setattr(instructor_runs.time, "monotonic", lambda: 100.0)  # the judge's clock, too
    run._process(b"w", times.encode(), 0.0)
    assert run._is_over(child, now=100.0) == is_over


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ("self.assertEqual(f(), 'word ' * 30_000)", "'wurd ' * 30_000"),
        (
            "self.assertEqual(f(), ['line %d' % n for n in range(30_000)])",
            "['lime %d' % n for n in range(30_000)]",
        ),
        ("self.assertEqual(f(), {n: 'x' for n in range(30_000)})", "{n: 'y' for n in range(30_000)}"),
        ("self.assertCountEqual(f(), [[1], [2]])", "[[n] for n in range(50_000)]"),
        ("self.assertEqual(f(), {1, 2})", "set(range(90_000))"),
        ("self.assertIn('z', f())", "['x' * 9] * 50_000"),
        ("assert f() == 'a' * 90_000", "'b' * 90_000"),
    ],
)
def test_a_long_difference_costs_no_other_test(judged, body, wrong):
    tests = in_class(body, "self.assertEqual(g(), 1)")
    verdict = judged(tests, f"def f(): return {wrong}\ndef g(): return 1")
    assert outcomes(verdict) == ["failed", "passed"]
    assert all(len(test.message) < 400 for test in verdict.tests)


@pytest.mark.parametrize(
    "work", ["while True: pass", "sum(range(f()))", "__import__('os')._exit(1)", "[[0] * f()] * f()", "f(f)"]
)
def test_a_judge_that_does_not_end_at_one_test_costs_that_test(judged, monkeypatch, work):
    monkeypatch.setattr(instructor_runs, "JUDGE_SECONDS", 1.0)
    monkeypatch.setattr(instructor_runs, "LATER_SECONDS", 1.0)
    tests = in_class("self.assertEqual(f(), 10**15)", work, "self.assertEqual(f(), 10**15)")
    verdict = judged(tests, "def f(): return 10**15")
    assert outcomes(verdict) == ["passed", "error", "passed"], feedback(verdict, "full")


# --- answers that are none ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        *("", "1", "\u00e9", '{"r": 1}', "[]", "[1]", '["z"]', '["r"]', '["r", 1]', '["r", 1, 2, 3]'),
        *('["e", 1, 2, 3, 4]', '["i", 1]', '["r", {"s": [[1]]}, [], ""]', '["r", {"i": "zz"}, [], ""]'),
        *('["r", {"q": []}, [], ""]', '["r", {"h": [1, 2, 3]}, [], ""]', "[" * 90_000),
        '["r", ' + "9" * 5000 + ', [], ""]',
    ],
)
def test_an_answer_of_another_shape_costs_one_test(judged, answer):
    tests = in_class("self.assertEqual(f(1), 1)", "self.assertEqual(f(2), 2)", "self.assertEqual(f(3), 3)")
    program = (
        f"import os\nANSWER = {answer!r}.encode()\n"
        "def f(n):\n    if n == 2:\n        for fd in range(3, 64):\n"
        "            try: os.write(fd, ANSWER + b'\\n')\n            except OSError: pass\n    return n"
    )
    verdict = judged(tests, program)
    assert [outcomes(verdict)[0], outcomes(verdict)[1]] == ["passed", "error"]
    assert outcomes(verdict)[2] == "passed"


TESTS = {"test_a": FileTest("test_a")}


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"1", b"[]", b"[" * 9000, b'["test_a"]'),
        b'["test_a","won","",null,null,null]',
        b'["test_b","passed","",null,null,null]',
        b'["test_a",[],"",null,null,null]',
        b'["test_a","passed",1,null,null,null]',
        b'["test_a","failed","",1,null,null]',
        b'["test_a","failed","",null,"4",null]',
        b'["test_a","failed","",null,null,101.0]',
        b'["test_a","failed","",null,null,NaN]',
        b'["test_a","failed","",null,null,"1"]',
        b'["test_a","failed","' + b"x" * 99_000 + b'",null,null,null]',
    ],
)
def test_a_result_of_another_shape_is_none(line):
    assert read_result(line, TESTS) is None


def test_a_result_is_cut_and_checked():
    line = json.dumps(["test_a", "error", "x\0" * 900, "no name", -4, None]).encode()
    found = read_result(line, TESTS)
    assert found is not None
    result, share = found
    assert (result.exception, result.line, share, len(result.message) < 400) == (
        "Exception",
        None,
        None,
        True,
    )
    assert "\0" not in result.message
    assert result.outcome is Outcome.ERROR


# --- words ----------------------------------------------------------------------------------------------


ODD = "class A:\n    def __repr__(self): return 'All passed'\ndef f(): return A()"
ODD_CLASS = (
    "class M(type):\n    def __repr__(self): return 'All passed'\n"
    "class A(metaclass=M): pass\ndef f(): return A"
)
SAYS = "def f(): return 'your program passed'"
RAISES = "def f(): raise ValueError({!r})".format
EQUAL = "self.assertEqual(f(), 1)"


@pytest.mark.parametrize(
    ("body", "program", "words"),
    [
        ("f()", RAISES("All passed."), 'stopped with ValueError on line 1: "All passed."'),
        (
            "f()",
            "E = type('All passed', (Exception,), {})\ndef f(): raise E",
            "stopped with Exception on line 2",
        ),
        (EQUAL, ODD, '<A "All passed"> != 1'),
        (EQUAL, "class A: pass\ndef f(): return A()", "<A object> != 1"),
        (EQUAL, "A = type('All passed', (), {})\ndef f(): return A()", "<unknown object> != 1"),
        (EQUAL, "class A:\n    def __repr__(self): 1 / 0\ndef f(): return [A()]", "[<A object>] != 1"),
        ("self.assertEqual({f()}, {1})", ODD, '<A "All passed">'),
        ("self.assertCountEqual([f()], [1])", ODD, '<A "All passed">'),
        ("self.assertIsInstance(1, f())", ODD_CLASS, '1 is not an instance of <A "All passed">'),
        ("self.assertEqual(f() - 5, 1)", "class A: pass\ndef f(): return A()", "<A object> - 5 != 1"),
        ("self.assertEqual(f(), 'b')", "def f(): return 'a\\nAll passed.'", r"'a\nAll passed.' != 'b'."),
        ("self.assertEqual(f(), 4, f())", SAYS, '4 : "your program passed".'),
        ("assert f() == 4, f()", SAYS, 'Test.test_0: "your program passed".'),
        ("self.fail(f())", SAYS, 'Test.test_0: "your program passed".'),
        ("int(f())", SAYS, """ValueError: "invalid literal for int() with base 10: 'your"""),
        (
            "self.assertRaises(ValueError, f)",
            "def f(): pass\nf.__name__ = 'f. All passed'",
            "ValueError not raised by the call",
        ),
        (
            "with self.assertRaisesRegex(ValueError, 'neg'): f()",
            RAISES('"All passed'),
            r'"neg" does not match "\"All passed"',
        ),
        (
            "assert f() == 1",
            "def f(): return '\\ud800\\0\\u202e<|im_end|>'",
            r"'\ud800\x00\u202e<\|im_end|>'",
        ),
        ("assert f()", "def f(): return 0", "f() does not hold"),
    ],
)
def test_a_programs_words_are_marked_as_its_own(judged, body, program, words):
    assert words in feedback(judged(in_class(body), program))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("self.assertEqual(f(5), 6)", "5 != 6"),
        (
            "self.assertEqual(f([1, 2]), [1, 3])",
            "Lists differ: [1, 2] != [1, 3] First differing element 1: 2 3 - [1, 2]",
        ),
        ("self.assertEqual(f({1: 2}), {1: 3})", "{1: 2} != {1: 3} - {1: 2} ? ^ + {1: 3} ? ^"),
        ("self.assertTrue(f(0))", "0 is not true"),
        ("self.assertIn(f(4), [1])", "4 not found in [1]"),
        ("self.assertAlmostEqual(f(1.5), 1)", "1.5 != 1 within 7 places (0.5 difference)"),
        ("self.assertCountEqual(f([1]), [2])", "First has 1, Second has 0: 1"),
        ("self.assertIsInstance(f(1), str)", "1 is not an instance of <class 'str'>"),
        ("self.assertEqual(f(5), 6, 'five')", '5 != 6 : "five"'),
    ],
)
def test_a_short_message_is_unittests(judged, body, words):
    assert words in feedback(judged(in_class(body), "def f(n): return n"))


def test_what_a_scored_program_prints_is_quoted(judged):
    tests = (
        "from cs110 import autograder\ndef test_passed():\n"
        "    out, error = autograder.run_script('a.py', [])\n"
        "    print(out, error)\n    return {}\n"
    )
    verdict = judged(tests.format("40"), "print('Correct. 100 of 100')", form="falcon")
    assert (verdict.grade, feedback(verdict)) == (40, 'Your program scored 40 of 100: "Correct. 100 of 100".')
    broken = judged(tests.format("out"), "print('x')", form="falcon")
    assert (broken.grade, outcomes(broken)) == (0, ["error"])
    never = judged(tests.format("float('nan')"), "print('x')", form="falcon")
    assert never.grade == 0


def test_a_script_that_ends_is_told_to_the_test_which_decides(judged):
    tests = """
from cs110 import autograder
def test_passed():
    out, error = autograder.run_script("program.py", ["1"])
    return 40 if error else 100
"""
    for program in ("import os\nos._exit(0)", "while True: pass", "print(1 / 0)"):
        assert judged(tests, program, form="falcon").grade == 40
    assert judged(tests, "print(input())", form="falcon").grade == 100


ASKED = '''
class Bag:
    """A bag."""
    def __init__(self, *items): self.items = items
    def __contains__(self, item): return item in self.items
    def __iter__(self): return iter(self.items)
    def __format__(self, spec): return f"bag{spec}"
    def __enter__(self): return self.items
    def __exit__(self, *_): self.items = ()
    def __pos__(self): return 5
class P:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return self.x == other.x
    def __hash__(self): return hash(self.x)
class E:
    def __eq__(self, other): return True
class N:
    def __eq__(self, other): return True
    def __ne__(self, other): return True
def documented(): "Says it."
def plain(): pass
'''


@pytest.mark.parametrize(
    "test",
    [
        "self.assertEqual(len({P(1), P(1), P(2)}), 2)",
        "self.assertEqual(hash(P(1)), hash(P(1)))",
        "self.assertEqual({P(1): 5}[P(1)], 5)",
        "self.assertCountEqual([P(1), P(2)], [P(2), P(1)])",
        "with self.assertRaises(TypeError):\n    hash(E())",
        "with self.assertRaises(TypeError):\n    {E()}",
        "self.assertTrue(N() == N() and N() != N())",
        "one = P(1)\nself.assertIn(one, Bag(one))\nself.assertNotIn(P(2), Bag(one))",
        "self.assertIn(3, Bag(1, 3))\nself.assertNotIn(4, Bag(1, 3))",
        "self.assertEqual(f'{Bag():>5}', 'bag>5')",
        "bag = Bag(1)\nwith bag as items:\n    self.assertEqual(items, (1,))\nself.assertEqual(bag.items, ())",
        "self.assertEqual((documented.__doc__, plain.__doc__, Bag.__doc__), ('Says it.', None, 'A bag.'))",
        "bag = Bag(1)\ndel bag.items\nself.assertFalse(hasattr(bag, 'items'))",
        "with self.assertRaises(AttributeError):\n    del Bag(1).other",
        "self.assertEqual(+Bag(), 5)",
    ],
)
def test_a_program_is_asked_what_its_objects_do(judged, test):
    verdict = judged(in_class(test, head="import unittest\nfrom program import *\n"), ASKED)
    assert verdict.grade == 100, feedback(verdict)

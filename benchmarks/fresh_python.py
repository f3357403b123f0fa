"""The usual way to grade, for comparison: a fresh Python process for every program.

The tests run in the program's own interpreter, without isolation, as a script that an instructor would write:
`python check.py` in a folder with the program.
"""

import ast
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tutee_grader.assignment import Assignment
from tutee_grader.forms.calls import CallTest
from tutee_grader.forms.instructor import FileTest, student_modules
from tutee_grader.forms.scoring import Test
from tutee_grader.forms.stdio import ScriptTest
from tutee_grader.sandbox.runs import WHOLE_PROGRAM
from tutee_grader.sandbox.worker import INSIDE

PLAIN = ()
# The quickest start of Python that there is: no `site` (so none of the environment's packages, which the
# scripts don't need), no folder of the user's packages, no variables of the environment.
QUICKEST = ("-S", "-s", "-E")


def grade_in_fresh_pythons(
    programs: Sequence[tuple[Assignment, str]], workers: int, options: Sequence[str] = PLAIN
) -> list[bool]:
    """Whether each program passes, by a fresh Python process each, as many at a time as there are workers.

    A program that is over the time that an assignment gives a whole program fails.
    """
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(workers) as threads:
        folders = (Path(name, str(number)) for number in range(len(programs)))
        return list(
            threads.map(lambda folder, item: _passes(folder, item[0], item[1], options), folders, programs)
        )


def _passes(folder: Path, assignment: Assignment, source: str, options: Sequence[str]) -> bool:
    folder.mkdir()
    (folder / "program.py").write_text(source, encoding="utf-8")
    for name in student_modules(assignment.test_source or ""):
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    (folder / "check.py").write_text(_test_script(assignment), encoding="utf-8")
    command = [sys.executable, *options, "check.py"]
    seconds = WHOLE_PROGRAM * assignment.limits.seconds
    try:
        done = subprocess.run(command, cwd=folder, timeout=seconds, capture_output=True, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _test_script(assignment: Assignment) -> str:
    """The test script that an instructor would write, to be run beside the student's program."""
    if assignment.form == "unittest":
        return _RUN_TESTS.replace("SOURCE", repr(assignment.test_source)).replace("INSIDE", repr(str(INSIDE)))
    if assignment.form == "falcon":
        text = _RUN_FALCON.replace("SOURCE", repr(assignment.test_source)).replace(
            "INSIDE", repr(str(INSIDE))
        )
        return text.replace("MAX_SCORE", repr(assignment.max_score))
    lines: list[str] = []
    for test in assignment.tests:
        lines += _python_lines(test)
    head = (
        _RUN_SCRIPT
        if assignment.form == "stdio"
        else "from program import *\nnan, inf = float('nan'), float('inf')\n"
    )
    return head + "\n".join(lines)


def _python_lines(test: Test) -> list[str]:
    """The lines that check one test, beside the student's program."""
    if isinstance(test, CallTest):
        *statements, call = ast.parse(test.call).body
        near = f" or abs(got - want) <= {test.tolerance}" if test.tolerance is not None else ""
        return [
            *(ast.unparse(statement) for statement in statements),
            f"got, want = {ast.unparse(call)}, {test.returns!r}",
            f"assert got == want{near}",
        ]
    if isinstance(test, ScriptTest):
        return [f"run({test.stdin!r}, {test.stdout!r})"]
    return [f"assert {test.name}"]


def as_instructors(assignment: Assignment) -> Assignment:
    """The same tests as an instructor would write them in a file: unittest, or falcon for whole scripts."""
    if assignment.test_source is not None:
        return assignment
    if assignment.form == "stdio":
        cases = [(test.stdin, test.stdout) for test in assignment.tests if isinstance(test, ScriptTest)]
        source = _FALCON_FILE.replace("CASES", repr(cases))
        return replace(assignment, form="falcon", tests=(FileTest("test_passed"),), test_source=source)
    lines = ["import unittest", "from program import *", "nan, inf = float('nan'), float('inf')"]
    lines += ["class Test(unittest.TestCase):"]
    for number, test in enumerate(assignment.tests):
        body = _python_lines(test)
        lines += [f"    def test_{number:03}(self):", *(f"        {line}" for line in body)]
    tests = tuple(FileTest(f"Test.test_{number:03}") for number in range(len(assignment.tests)))
    return replace(assignment, form="unittest", tests=tests, test_source="\n".join(lines) + "\n")


_FALCON_FILE = """
from cs110 import autograder
def test_passed():
    for stdin, stdout in CASES:
        lines = stdin.splitlines()
        out, error = autograder.run_script('program.py', lines)
        want = [line.rstrip() for line in stdout.rstrip().split('\\n')]
        if error or [line.rstrip() for line in out.rstrip().split('\\n')] != want:
            return 0
    return 100
"""
_RUN_SCRIPT = """
import contextlib, io, sys
def run(stdin, stdout):
    sys.stdin, out = io.StringIO(stdin), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        exec(open('program.py').read(), {'__name__': '__main__'})
    assert [line.rstrip() for line in out.getvalue().rstrip().split('\\n')] == \\
        [line.rstrip() for line in stdout.rstrip().split('\\n')]
"""
_RUN_TESTS = """
import io, sys, unittest
sys.path.append(INSIDE)
import pytest_stub
sys.modules['pytest'] = pytest_stub.module()
names = {}
exec(SOURCE, names)
suite = unittest.TestSuite()
for value in list(names.values()):
    if isinstance(value, type) and issubclass(value, unittest.TestCase):
        suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(value))
good = unittest.TextTestRunner(io.StringIO()).run(suite).wasSuccessful()
for name, value in list(names.items()):
    if name.startswith('test') and callable(value):
        for case in getattr(value, 'cases', [{}]):
            value(**case)
sys.exit(not good)
"""
_RUN_FALCON = """
import builtins, contextlib, io, json, sys
sys.path.append(INSIDE)
import autograder, student
builtins.input = student.silent_input
class Asker:
    fault = lacked = None
    def caught(self): pass
    def ask(self, question, *_):
        kind, *rest = json.loads(question)
        if kind != 'script':
            return '', None, False
        sys.stdin, out = io.StringIO(rest[0]), io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                exec(compile(open('program.py').read(), 'program.py', 'exec'), {'__name__': '__main__'})
        except SystemExit:
            pass
        except BaseException as error:
            return out.getvalue(), [type(error).__name__, str(error), None], False
        return out.getvalue(), None, False
result = autograder.run_falcon(compile(SOURCE, 'tests.py', 'exec'), 'test_passed', MAX_SCORE, Asker())
sys.exit(result[1] != 'passed')
"""

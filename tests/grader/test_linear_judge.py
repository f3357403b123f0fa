"""What a judge makes of an answer takes time linear in its length, for each outcome of its forms.

Answers are about as long as a line may be: a linear cost is under 1 s, a quadratic one over half a minute.
"""

import json
import subprocess
import sys

import pytest

from tutee_grader.forms.instructor import compile_tests
from tutee_grader.sandbox.worker import INSIDE

# Prints the outcome of a test whose question gets an answer; the system ends what takes more CPU seconds.
JUDGE = """
import io, json, marshal, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
sys.stdin = sys.stdin.buffer
import judge, instructor, autograder, pytest_stub
from asker import Asker
from judge import Program
sys.modules["pytest"] = pytest_stub.module()
form, answer, size = json.loads(sys.argv[1])
code = sys.stdin.read()

class Connection:
    "Stands in for a student's process: the program has a function f, and every call gets the same answer."
    def __init__(self, line):
        self.line = line
    def send(self, text):
        kind = json.loads(text)[0]
        self.reply = b'["r",[["f",{"h":[0,"function",""]}]]]' if kind == "load" else self.line
    def receive(self):
        return self.reply
    def refuse(self):
        raise RuntimeError("refused")
    discard = refuse

line = eval(answer)(size)
assert len(line) <= 1_300_000, len(line)
asker = Asker(Connection(line))
sys.modules["program"] = Program("program", asker)
results = []
if form == "falcon":
    results.append(autograder.run_falcon(marshal.loads(code), "test_passed", 100.0, asker))
else:
    run = instructor.TestRun(asker, instructor.TestClock(1000), lambda test: None, results.append)
    run.run(marshal.loads(code), ["test_f"])
print(results[0][1])
"""
LIST = "lambda n: b'[\"r\",[' + b','.join([b'1'] * n) + b'],[],\"\"]'"
SET = "lambda n: b'[\"r\",{\"s\":[' + b','.join(b'%d' % (7 * k) for k in range(n)) + b']},[],\"\"]'"
TEXT = "lambda n: b'[\"r\",\"' + b'ab\\\\n' * n + b'\",[],\"\"]'"
RAISED = 'lambda n: b\'["e","ValueError","\' + b\'a/\' * n + b\'",1,["Exception"]]\''
PRINTED = "lambda n: b'[\"r\",1,[],\"' + b'ab\\\\n' * n + b'\"]'"
CHANGED = "lambda n: b'[\"r\",null,[[' + b','.join([b'2'] * n) + b']],\"\"]'"
SCRIPT = "lambda n: b'[\"r\",\"' + b'1 2\\\\n' * n + b'\",null,false]'"
CASES = {
    "passed": ("unittest", "assert len(f(1)) > 3", LIST, 400_000),
    "passed, of a set": ("unittest", "assert 7 in f(1)", SET, 100_000),
    "passed, in place": ("unittest", "x = [1]; f(x); assert x[0] == 2", CHANGED, 400_000),
    "passed, having printed": ("unittest", "assert f(1) == 1", PRINTED, 200_000),
    "failed, by a bare assert": ("unittest", "assert f(1) == [1, 2]", LIST, 400_000),
    "failed, by approx": ("unittest", "assert f(1) == pytest.approx([1.0, 2.0])", LIST, 400_000),
    "failed, by assertEqual": ("unittest", "case.assertEqual(f(1), [1, 2])", LIST, 400_000),
    "failed, of sets": ("unittest", "case.assertEqual(f(1), {1, 2})", SET, 100_000),
    "failed, of texts": ("unittest", "case.assertEqual(f(1), 'ab\\nabc\\n' * 50)", TEXT, 250_000),
    "failed, by assertCountEqual": ("unittest", "case.assertCountEqual(f(1), [1, 2])", LIST, 200_000),
    "failed, by assertIn": ("unittest", "case.assertIn(5, f(1))", LIST, 400_000),
    "error, of the program's": ("unittest", "f(1)", RAISED, 500_000),
    "error, of the test's": ("unittest", "f(1)['a']", LIST, 400_000),
    "passed, a script": ("falcon", "return 100 if run_script('p')[0].count('1') else 0", SCRIPT, 200_000),
    "failed, a script": ("falcon", "return 100 if run_script('p')[0] == 'a' else 0", SCRIPT, 200_000),
    "failed, a script by lines": (
        "falcon",
        "return compare_strings(run_script('p')[0], ['3 4'] * 9)",
        SCRIPT,
        200_000,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_long_answer_is_judged_in_time(name):
    form, body, answer, size = CASES[name]
    head = "import pytest, unittest\nfrom program import f\ncase = unittest.TestCase()\ndef test_f():\n    "
    if form == "falcon":
        head = "from cs110.autograder import run_script, compare_strings\ndef test_passed():\n    "
    run = subprocess.run(
        [sys.executable, "-s", "-S", "-P", "-c", JUDGE, json.dumps([form, answer, size])],
        env={"PYTHONPATH": str(INSIDE)},
        input=compile_tests(head + body + "\n"),
        capture_output=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr.decode()
    assert run.stdout.decode().strip() == name.split(",")[0]

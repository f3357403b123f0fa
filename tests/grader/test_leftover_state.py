"""Which scripts get a process for each run: all that may change something that outlives the run."""

import sys

import pytest

from tutee_grader import Assignment
from tutee_grader.sandbox.inside import leftover_state
from tutee_grader.sandbox.inside.leftover_state import leaves_state, names_in, parts_of
from tutee_grader.sandbox.runs import LEFT_STATE

NEWLINE = b"\n"
MANY_NAMES = "\n".join(f"name{n} = {n}" for n in range(300))


def may_leave(source: str) -> bool:
    parts = parts_of(compile(source, "program.py", "exec"))
    return leaves_state(parts, names_in(parts))


@pytest.mark.parametrize(
    "source",
    [
        "name = input()\nprint(len(name))",
        "class A:\n    def __init__(self): self.x = 1\nprint(A().x)",
        "import math, random\nfrom collections import Counter\nprint(math.pi, random.random(), Counter())",
        "import collections.abc",
        "import sys\nfor line in sys.stdin: sys.stdout.write(line)\nsys.exit(0)",
        "from sys import stdin\nprint(stdin.readline())",
        "path, modules, argv, close = 1, 2, 3, 4",
        MANY_NAMES + "\nimport math",
    ],
)
def test_what_keeps_to_itself_leaves_no_state(source):
    assert not may_leave(source)


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import os.path as p",
        "def f():\n    import threading",
        "class A:\n    def f(self):\n        return lambda: __import__('os')",
        "import math\nmath.pi = 3",
        "import math\ndef f(): del math.pi",
        "import numbers\nnumbers.Number.register(str)",
        "import random\nsetattr(random, 'random', int)",
        "import sys\nsys.setrecursionlimit(99)",
        "from sys import *\nsettrace(None)",
        "import sys\nsys.stdin.close()",
        "import sys\nsys.stdout = None",
        "exec('import os')",
        "open('a', 'x')",
        "__builtins__.print = None",
        "import tutor_helpers",
        MANY_NAMES + "\nimport os",
    ],
)
def test_what_may_change_the_interpreter_leaves_state(source):
    assert may_leave(source)


def test_modules_that_are_taken_to_be_stateless_are_pythons_own():
    assert sys.stdlib_module_names >= leftover_state._STATELESS
    assert set(dir(sys)) >= leftover_state._READ_ONLY


def test_a_process_that_ends_after_each_answer_gets_no_more_than_its_tests(grader, write):
    # Here the program itself says that its process is to be replaced, before or after its answer.
    rows = "".join(f"  - {{call: f({n}), returns: '{n}'}}\n" for n in range(3))
    assignment = Assignment.load(write(**{"tests.yaml": f"form: calls\ntests:\n{rows}"}))
    says = "for fd in range(3, 32):\n        try: os.write(fd, {line!r})\n        except OSError: pass"
    before = f"import os\ndef f(n):\n    {says.format(line=LEFT_STATE + NEWLINE)}\n    os._exit(0)"
    answer = b'["v",[0]]\n'
    after = f"import os\ndef f(n):\n    {says.format(line=answer + LEFT_STATE + NEWLINE)}\n    os._exit(0)"
    verdicts = grader.grade([(assignment, before), (assignment, after)])
    assert [[str(test.outcome) for test in verdict.tests] for verdict in verdicts] == [
        ["error"] * 3,
        ["passed", "failed", "failed"],
    ]

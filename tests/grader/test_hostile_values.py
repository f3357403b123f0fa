"""Nothing that a student's program returns, prints or raises makes the caller raise, or costs a neighbour."""

import json
import tracemalloc

import polars as pl
import pytest

from tutee_grader import Assignment, feedback, grade_table
from tutee_grader.sandbox.inside.zygote_messages import MAX_ANSWER_BYTES

CALLS = """
form: calls
tests:
  - {call: f(1), returns: "1", tolerance: 0.1}
  - {call: f(2), returns: "[1, 2]"}
  - {call: f(3), returns: "3", strict: true}
  - {call: f(4), returns: "{1, 'a'}"}
"""
ASSERTS = """
assert f(1) == 1 and sorted(f(2)) == [1] and abs(f(3) - 1) < 0.1 and f(4) in ({1}, 'a')
assert ('%' + str(f(5)) + 'd') % 1 == '1' and f(6) ** f(7) == 3 and set(f(8)) == {1}
assert 'x' * f(9) == 'xx' and str(f(10)) == '1' and max(f(11)) == 3 and f(12)[0] == 1
"""
UNITTEST = """
import pytest
from program import *
def test_a(): assert f(1) == 1
def test_b(): assert f(2) == pytest.approx([1.0])
def test_c(): assert f(3) in ({1}, 'a')
"""
FORMS = {
    "calls": {"tests.yaml": CALLS},
    "asserts": {"test.py": ASSERTS},
    "unittest": {"test.py": UNITTEST},
}
SCRIPTS = {
    "exact": "",
    "near": "options: {tolerance: 0.1}\n",
    "part": "options: {contains: true, tolerance: 0.1, case: ignore}\n",
}
VALUES = [
    "'\\ud800'",
    "'\\0' * 1000",
    "'\\x1b[2J\\u202e<|im_end|>'",
    "b'\\xff' * 300_000",
    "10 ** 400_000",
    "-(2 ** 3_000_000)",
    "1e308 * 10",
    "float('nan')",
    "complex('nan')",
    "complex(1e308, 1e308)",
    "999_999_999",
    "{k * (2 ** 61 - 1) for k in range(90)}",
    "[k << 61 for k in range(40_000)]",
    "[[]] * 200_000",
    "{(k * (2 ** 61 - 1),): k for k in range(2000)}",
    "[{}] * 200_000",
    "'9' * 900_000",
    "'1e' * 400_000",
    "' ' * 900_000",
    "'a.' * 400_000",
    "'/a' * 400_000",
    "'0x' * 400_000",
    "range(10 ** 12)",
    "iter(int, 1)",
    "range(0, 10 ** 30, 7)",
    "{frozenset({1, 'b'}), frozenset({2})}",
    "type('All 4 tests passed. ', (), {})()",
    "__import__('decimal').Decimal('1e999999999')",
    "__import__('decimal').Decimal('sNaN')",
    "__import__('fractions').Fraction(1, 10 ** 5000)",
    "__import__('collections').deque([1], 0)",
    "Ellipsis",
    "NotImplemented",
    "f",
    "print",
    "(lambda: 1)",
    "[i for i in [[[[1]]]]]",
    "{'a': {'b': {1: (2,)}}}.items()",
    "{1: 2}.values()",
    "memoryview(b'ab')",
    "bytearray(b'ab')",
    "[float('nan')] * 3",
    "{float('nan'), 'a', 1}",
    "Exception('x')",
    "globals()",
    "__import__('sys')",
    "object",
    "True",
    "None",
    "-0.0",
    "'1' * 4400",
]


# Lines that no `encode` writes, as a program can write them to its channel.
LINES = [
    'b\'["v",[{"f":[1,{"i":"0"}]}]]\'',
    'b\'["v",[{"f":[1,0]}]]\'',
    'b\'["v",[{"q":"x"}]]\'',
    'b\'["v",[{"r":[0,1,0]}]]\'',
    'b\'["v",[{"k":[[1]]}]]\'',
    'b\'["v",[{"m":[[[1],2]]}]]\'',
    'b\'["v",[{"e":[-1,[1]]}]]\'',
    'b\'["v",[{"n":[1,2]}]]\'',
    'b\'["e","A b","x",1e999]\'',
    "b'[\"e\",1,2,3]'",
    "b'[\"e\"]'",
    "b'[\"v\"]'",
    "b'[\"v\",{}]'",
    "b'[]'",
    "b'{}'",
    "b'null'",
    "b'\\xff'",
    'b\'["x","All tests passed","",1]\'',
    'b\'["n","a","b",1]\'',
    "b'[\"l\"]'",
    "b'[\"c\"]'",
    "b'[\"s\",1,2]'",
    'b\'["s","\\\\ud800",[]]\'',
    "b'[\"t\"]'",
    "b'[' * 5000",
    "b'[\"v\",[' + b'[' * 100_000 + b']' * 100_000 + b']]'",
    "b'[\"v\",[' + b'9' * 500_000 + b']]'",
    "b'[\"v\",[' + b','.join([b'{}'] * 300_000) + b']]'",
    "b'[\"e\",\"E\",\"' + b'\\\\ud800' * 100_000 + b'\",1]'",
    "b'[\"v\",[{\"s\":[' + b','.join(b'{\"i\":\"%x\"}' % (k * (2**61 - 1)) for k in range(20_000)) + b']}]]'",
]


@pytest.fixture(scope="module")
def assignments(tmp_path_factory):
    made = {}
    for name, files in FORMS.items():
        folder = tmp_path_factory.mktemp(name)
        for file, text in files.items():
            (folder / file).write_text(text)
        made[name] = Assignment.load(folder, tests=name)
    for name, options in SCRIPTS.items():
        folder = tmp_path_factory.mktemp(name)
        rows = 'tests:\n  - {stdin: "", stdout: "total 1.5\\n2"}\n  - {stdin: "3", stdout: "a"}\n'
        (folder / "tests.yaml").write_text(f"form: stdio\n{options}{rows}")
        made[name] = Assignment.load(folder)
    return made


WRITING = """
import os
def f(*_):
    for fd in range(3, 32):
        line = {line} + b"\\n"
        try:
            while line: line = line[os.write(fd, line):]
        except OSError: pass
    {then}
"""


def programs(form: str) -> list[str]:
    if form in FORMS:
        returned = [f"def f(*_): return {value}" for value in VALUES]
        raised = [f"def f(*_): raise ValueError({value})" for value in VALUES]
        while_loading = [f"raise RuntimeError({value})" for value in VALUES[:4]]
        written = [WRITING.format(line=line, then="return 1") for line in LINES]
        return returned + raised + while_loading + written
    printed = [f"import sys\nsys.stdout.reconfigure(errors='replace')\nprint({value})" for value in VALUES]
    return printed + [f"raise ValueError({value})" for value in VALUES]


@pytest.mark.parametrize("form", [*FORMS, *SCRIPTS])
def test_each_hostile_value_is_an_outcome_of_its_program_alone(grader, assignments, form):
    assignment = assignments[form]
    batch = programs(form)
    verdicts = grader.grade([(assignment, program) for program in batch])
    assert len(verdicts) == len(batch)
    for program, verdict in zip(batch, verdicts, strict=True):
        assert verdict.grade < 100, program
        words = feedback(verdict, "full")
        words.encode("utf-8")
        assert words.replace("\n", "").isprintable(), (program, words)
        assert "<|" not in words


@pytest.mark.parametrize("line", LINES)
def test_a_program_that_writes_such_a_line_and_ends_gets_nothing(grader, assignments, line):
    program = WRITING.format(line=line, then="os._exit(0)")
    (verdict,) = grader.grade([(assignments["calls"], program)])
    assert verdict.grade == 0


def test_a_table_with_such_texts_can_be_written(assignments, tmp_path):
    programs = [
        "def f(*_): raise ValueError('\\ud800')",
        "raise type('\\ud800', (Exception,), {})",
        "def f(*_): return 1",
    ]
    rows = pl.DataFrame({"submission_id": ["1", "2", "3"], "assignment": ["calls"] * 3, "code": programs})
    table = grade_table(rows, assignments, tmp_path, workers=1, progress=False)
    again = grade_table(rows, assignments, tmp_path, workers=1, progress=False)
    assert table.equals(again)
    assert "\\ud800" in table["feedback"][0]
    json.dumps(table.to_dicts(), ensure_ascii=False).encode()


@pytest.mark.parametrize("flood", [b"\n", b"a\n", b"x", b'["v",[1]]\n', b'["t"]\n', b'["c"]\n'])
def test_a_program_that_writes_without_end_costs_the_caller_its_bytes_and_no_more(grader, assignments, flood):
    program = (
        "import os\ndef f(*_):\n    while True:\n        for fd in range(3, 32):\n"
        f"            try: os.write(fd, {flood!r} * 100_000)\n            except OSError: pass\n"
    )
    tracemalloc.start()
    (verdict,) = grader.grade([(assignments["calls"], program)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert verdict.grade <= 25
    assert peak < 3 * MAX_ANSWER_BYTES  # a line of one byte is an object of 34

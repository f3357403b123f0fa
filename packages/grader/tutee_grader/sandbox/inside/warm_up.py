"""Warms a zygote up, so that its children start warm.

It runs a program and an instructor's file in every form: what Python caches on the way (specialised
instructions, attribute look-ups, interned names) is then there in every child. And it fills the free blocks
in the zygote's memory: a child that allocates in one makes the kernel copy the page around it.
"""

import builtins
import json
import os
import random
import sys
import types
from typing import Any

import object_server
import scripts
import streams
import student
from exceptions import describe
from program_module import PROGRAM as FILE

TIMES = 12  # Python specialises what has run eight times
MANY_BYTES = 1 << 18

PROGRAM = """
class Basket:
    def __init__(self, items):
        self.items = items
    def __eq__(self, other):
        return self.items == other.items
    def total(self):
        total = 0
        for item in self.items:
            total += item
        return total
def basket(items):
    return Basket(items)
def count(text):
    found = {}
    for word in text.lower().split():
        if word not in found:
            found[word] = 0
        found[word] += 1
    return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
def mean(numbers):
    total, place = 0.0, 0
    while place < len(numbers):
        total = total + float(numbers[place])
        place += 1
    return round(total / len(numbers), 2)
def even(numbers):
    kept = []
    for place in range(len(numbers)):
        if numbers[place] % 2 == 0 and not numbers[place] < 0:
            kept.append(numbers[place])
    return kept[::-1] + [number * number for number in kept]
def power(base, exponent):
    if exponent <= 0:
        return 1
    return base * power(base, exponent - 1)
"""
CALLS = ("count('a b a')", "mean([1, 2.5])", "even([1, 2, 4])", "power(2, 3)", "basket([1]).total()",
         "mean([])", "missing(1)", "count(3)", "{'a': (1, None), 'b': {True}}")  # fmt: skip
SCRIPT = """
name = input("Your name? ")
count = int(input())
for number in range(1, count + 1):
    print(number, "x", count, "=", number * count)
print("Hello, " + name + "!", f"{count / 3:.2f}", name.split(","), max(1, count))
"""
INPUTS = (b"Ann,Bo\n3\n", b"Cy\nthree\n", b"")
BROKEN = ("def f(:\n    pass\n", "if x\n    y\n", "print('a\n", "for i in x:\nprint(i)\n", "x = (1,\n")
QUESTIONS = (
    '["load"]',
    '["name","mean"]',
    '["call",3,[[1,2.5]],{}]',
    '["call",2,[3],{}]',
    '["call",1,[[1]],{}]',
    '["op","eq",6,[{"h":[6,"",""]}]]',
    '["script","Ann\\n3\\n"]',
)
TESTS = """
import unittest
from program import *
class Test(unittest.TestCase):
    def setUp(self):
        self.numbers = [1, 2, 3]
    def test_right(self):
        self.assertEqual(mean(self.numbers), 2.0)
        self.assertTrue(even([2]) == [2, 4])
    def test_wrong(self):
        self.assertEqual(power(2, 3), 9)
    def test_raises(self):
        with self.assertRaises(ZeroDivisionError):
            mean([])
    def test_stops(self):
        count(3)
def test_function():
    assert basket([1]) == basket([1])
    assert count("a") == 1, "count"
"""
FALCON = """
from cs110 import autograder
def test_passed():
    out, error = autograder.run_script("program.py", ["Ann", "3"])
    right = autograder.compare_strings(out, ["Hello"]) + autograder.equals(len(out), 3)
    return right if autograder.code_compiles("program.py") and not error else 0
"""


_CLAUSE = (
    "f(3)",
    "returned",
    "sorted(f(3)) == [1]",
    compile("sorted(_0) == [1]", "<clause>", "eval"),
    1,
    None,
)
_LENIENCY = ("ignore", "exact", 0.01, False)
COMPARED: "tuple[tuple[str, tuple[Any, ...], bytes], ...]" = (
    ("value", ("f(1)", [1, 2.5], None, False), b'["v",[[1,2.5]]]'),
    ("value", ("f(1)", {"a": (1, None)}, None, False), b'["v",[{"d":[["a",{"t":[1,null]}]]}]]'),
    ("value", ("f(1)", "ab", None, False), b'["v",["b"]]'),
    ("value", ("f(1)", 3, 0.1, False), b'["e","NameError","name \'x\' is not defined",4]'),
    ("clause", _CLAUSE, b'["v",[[1]]]'),
    ("text", ("the run with no input", "7\n", _LENIENCY), b'["s","7.001\\n",null]'),
    ("text", ("the run with no input", "a\nb\n", _LENIENCY), b'["s","a\\nc\\n",["ValueError","no",3]]'),
)

_STREAMS = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")
_MODULES = ("__main__", "program", "tests", "cs110", "cs110.autograder")


def warm_up(role: types.ModuleType) -> None:
    """Run the code of the module of a role (student, comparer, judge); afterwards all is as before."""
    opened = [(name, getattr(sys, name)) for name in _STREAMS]
    descriptors = [os.dup(0), os.dup(1)]
    streams.make_files()
    modules = {name: sys.modules.get(name) for name in _MODULES}
    read = builtins.input
    for _ in range(TIMES):
        if role is student:
            _run_student_code()
        elif role.__name__ == "comparer":
            _run_comparer_code(role)
        else:
            _run_judge_code(role)
    builtins.input = read
    for name, stream in opened:
        setattr(sys, name, stream)
    for name, module in modules.items():
        if module is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
        os.close(descriptor)
    streams.close_files()
    random.seed(scripts.SEED)


def _compiled(source: str) -> types.CodeType:
    return compile(source, FILE, "exec", dont_inherit=True)


def _run_student_code() -> None:
    calls = [[(None, compile(call, "<test>", "eval"), False)] for call in CALLS]
    student.run_calls(_compiled(PROGRAM), calls, MANY_BYTES, str)
    builtins.input = student.silent_input
    student.run_scripts(_compiled(SCRIPT), list(INPUTS), MANY_BYTES, str)
    for source in BROKEN:
        try:
            _compiled(source)
        except SyntaxError as error:
            describe(error)
    server = object_server.ObjectServer(_compiled(PROGRAM), MANY_BYTES, -1)
    for question in QUESTIONS:
        server.reply(question.encode())


def _run_comparer_code(comparer: types.ModuleType) -> None:
    for name, fields, line in COMPARED:
        comparer.reply([comparer.TESTS[name](*fields)], "tests", 0, [line])


class _LocalConnection:
    """Replaces `connection.StudentConnection`: the answers come from this process instead of a student's."""

    def __init__(self, source: str) -> None:
        self._server = object_server.ObjectServer(_compiled(source), MANY_BYTES, -1)

    def send(self, question: str) -> None:
        stdout = sys.stdout  # the judge's own
        self._line = self._server.reply(question.encode()).encode()
        sys.stdout = stdout

    def receive(self) -> bytes:
        return self._line


def _run_judge_code(judge: types.ModuleType) -> None:
    asker = judge.Asker(_LocalConnection(PROGRAM))
    sys.modules["program"] = judge.Program("program", asker)
    names = ["Test.test_right", "Test.test_wrong", "Test.test_raises", "Test.test_stops", "test_function"]
    clock = judge.instructor.TestClock(1000.0)
    judge.instructor.TestRun(asker, clock, names.index, json.dumps).run(_compiled(TESTS), names)
    asker = judge.Asker(_LocalConnection(SCRIPT))
    judge.autograder.run_falcon(_compiled(FALCON), "test_passed", 1.0, asker)


def fill_free_blocks() -> list[object]:
    """Small objects that take up every free block of Python's allocator; the caller must keep them."""
    # Twice, as the list itself opens pools.
    return [_block(size) for _ in range(2) for size, free in _free_blocks() for _ in range(free)]


def _free_blocks() -> list[tuple[int, int]]:
    """Sizes in bytes, and how many blocks of each are free, as Python's allocator reports them."""
    reader, writer = os.pipe()
    errors = os.dup(2)
    os.dup2(writer, 2)
    os.close(writer)
    try:
        sys._debugmallocstats()
    finally:
        os.dup2(errors, 2)
        os.close(errors)
    report = b""
    while data := os.read(reader, 65536):
        report += data
    os.close(reader)
    rows = [line.split() for line in report.decode().splitlines()]
    # class, size, pools, blocks in use, free blocks
    return [(int(row[1]), int(row[4])) for row in rows if len(row) == 5 and all(map(str.isdigit, row))]


def _block(size: int) -> object:
    """An object of so many bytes, a multiple of 16."""
    if size == 16:
        return object()
    return bytes(size - sys.getsizeof(b"")) if size > 32 else (1 << 29) + id(size) % 999

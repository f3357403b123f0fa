"""Judging an answer costs time linear in its length, up to the caps, for each outcome of each form."""

import json
import subprocess
import sys

import pytest

from tutee_grader.sandbox.worker import INSIDE

# Prints the CPU seconds of judging an answer of a size, and one of eight times that size.
MEASURE = """
import json, sys, time
import comparer
kind, fields, lines, size = json.loads(sys.argv[1])
if kind == "clause":
    fields[3] = compile(fields[3], "<clause>", "eval")
test = comparer.TESTS[kind](*fields)
def cost(n):
    line = eval(lines)(n)
    assert len(line) <= 1_300_000, len(line)
    spent = []
    for _ in range(3):
        began = time.process_time()
        row = comparer.judge(test, line)
        spent.append(time.process_time() - began)
    return min(spent), row[0]
(small, first), (large, second) = cost(size // 8), cost(size)
print(json.dumps([small, large, first, second]))
"""
LENIENT = ["ignore", "ignore", 0.01, True]
NEAR = ["ignore", "exact", 0.01, False]
LIST = ["f(1)", [1, 2], None, False]
SET = ["f(1)", 3, 0.1, False]


def value(body: str) -> str:
    return f"""lambda n: b'["v",[' + ({body}) + b']]'"""


def printed(body: str) -> str:
    return f"lambda n: json.dumps(['s', {body}, None]).encode()"


def clause(expression: str) -> list[object]:
    return ["f(1)", "returned", "a clause", expression, 1, None]


CASES = {
    "value, failed: a long list": ("value", LIST, value("b'[' + b','.join([b'1'] * n) + b']'"), 400_000),
    "value, failed: empty lists": ("value", LIST, value("b'[' + b','.join([b'[]'] * n) + b']'"), 300_000),
    "value, failed: empty dicts": (
        "value",
        LIST,
        value("b'[' + b','.join([b'{\"d\":[]}'] * n) + b']'"),
        100_000,
    ),
    "value, failed: a text": ("value", LIST, value("b'\"' + b'a' * n + b'\"'"), 1_000_000),
    "value, failed: a text of controls": ("value", LIST, value(r"b'\"' + b'\\u0000' * n + b'\"'"), 150_000),
    "value, failed: a long integer": ("value", SET, value("b'{\"i\":\"' + b'f' * n + b'\"}'"), 1_000_000),
    "error: a set of one hash": (
        "value",
        SET,
        value("b'{\"s\":[' + b','.join(b'{\"i\":\"%x\"}' % (k * (2**61 - 1)) for k in range(n)) + b']}'"),
        30_000,
    ),
    "value, failed: sets of few hashes": (
        "value",
        SET,
        value(
            "b'[' + b','.join([b'{\"s\":[' + b','.join(b'{\"i\":\"%x\"}' % (k * (2**61 - 1))"
            " for k in range(100)) + b']}'] * n) + b']'"
        ),
        400,
    ),
    "value, failed: a set of even numbers": (
        "value",
        SET,
        value("b'{\"s\":[' + b','.join(b'%d' % (k << 18) for k in range(n)) + b']}'"),
        60_000,
    ),
    "value, passed: as long as expected": (
        "value",
        ["f(1)", [1] * 8, None, False],
        "lambda n: b'[\"v\",[[1,1,1,1,1,1,1,1' + b' ' * n + b']]]'",
        1_000_000,
    ),
    "error: a long message": ("value", SET, "lambda n: b'[\"e\",\"E\",\"' + b'/a' * n + b'\",1]'", 500_000),
    "error: a message of addresses": (
        "value",
        SET,
        "lambda n: b'[\"e\",\"E\",\"' + b' at 0x' * n + b'\",1]'",
        150_000,
    ),
    "error: not a line": ("value", SET, "lambda n: b'[' * n", 1_000_000),
    "error: a long number in JSON": ("value", SET, "lambda n: b'[\"v\",[' + b'1' * n + b']]'", 1_000_000),
    "output limit": ("value", SET, "lambda n: b'[\"o\"' + b' ' * n + b']'", 1_000_000),
    "clause, failed": (
        "clause",
        clause("sorted(_0) == [1]"),
        value("b'[' + b','.join(b'%d' % k for k in range(n)) + b']'"),
        150_000,
    ),
    "clause, failed by an exception": (
        "clause",
        clause("_0 + 1 == 2"),
        value("b'[' + b','.join([b'1'] * n) + b']'"),
        400_000,
    ),
    "clause, passed": (
        "clause",
        clause("len(_0) > 3"),
        value("b'[' + b','.join([b'1'] * n) + b']'"),
        400_000,
    ),
    "text, failed": ("text", ["the run", "a\n" * 50, NEAR], printed("'b\\n' * n"), 250_000),
    "text, failed: numbers": ("text", ["the run", "1 2", NEAR], printed("'1 ' * n"), 500_000),
    "text, failed: digits": ("text", ["the run", "1", NEAR], printed("'1' * n"), 1_000_000),
    "text, failed: exponents": ("text", ["the run", "1e5", NEAR], printed("'1e' * n"), 500_000),
    "text, failed: NUL": ("text", ["the run", "1 2", NEAR], printed("'\\0' * n"), 150_000),
    "text, failed: part": ("text", ["the run", "x 1 y 2 z", LENIENT], printed("'x 1 y 2 ' * n"), 120_000),
    "text, failed: part of many lines": (
        "text",
        ["the run", "1\n2\n3\n4.5\n", LENIENT],
        printed("'1\\n2\\n3\\n' * n"),
        100_000,
    ),
    "text, passed: part": ("text", ["the run", "1 2 3", LENIENT], printed("'9 ' * n + '1 2 3.001'"), 500_000),
    "text, passed": ("text", ["the run", "1", NEAR], printed("'1' + ' ' * n"), 1_000_000),
}


@pytest.mark.parametrize("name", CASES)
def test_eight_times_the_answer_costs_about_eight_times_as_much(name):
    run = subprocess.run(
        [sys.executable, "-s", "-S", "-P", "-c", MEASURE, json.dumps(CASES[name])],
        env={"PYTHONPATH": str(INSIDE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    small, large, first, second = json.loads(run.stdout)
    outcome = name.split(":")[0].split(",")[-1].strip().split(" by")[0]
    assert (first, second) == (outcome, outcome)
    # A quadratic cost would be 64 times as much; what is too small to measure counts as a millisecond.
    assert large / max(small, 0.001) < 24, f"{small:.4f} s, then {large:.4f} s"

"""Judging an answer costs time linear in its length, for each outcome of each form.

Answers are about as long as a line may be: a linear cost is under 2 s, a quadratic one over half a minute.
"""

import json
import subprocess
import sys

import pytest

from tutee_grader.sandbox.worker import INSIDE

# Prints the outcome of judging an answer; the system ends what takes more CPU seconds.
JUDGE = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
import comparer
kind, fields, answer, size = json.loads(sys.argv[1])
if kind == "clause":
    fields[3] = compile(fields[3], "<clause>", "eval")
test = comparer.TESTS[kind](*fields)
line = eval(answer)(size)
assert len(line) <= 1_300_000, len(line)
print(comparer.judge(test, line)[0])
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
        45_000,
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
        90_000,
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
def test_a_long_answer_is_judged_in_time(name):
    run = subprocess.run(
        [sys.executable, "-s", "-S", "-P", "-c", JUDGE, json.dumps(CASES[name])],
        env={"PYTHONPATH": str(INSIDE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == name.split(":")[0].split(",")[-1].strip().split(" by")[0]

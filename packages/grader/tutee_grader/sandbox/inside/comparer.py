"""The comparer's process: sets what a student's process wrote against what was expected.

No code of a student's runs here, only plain values come in; so one process serves many programs. What a value
can make it do is bounded by its memory and by the caller's clock, and ends at worst this process, for the one
test.

Requests, marshalled: (key, tests or None, kind, first, lines). `key` stands for an assignment whose tests
come with the first request that names it. `kind` says what the lines are: "tests", the answers for the tests
from `first` on; "refused", why the program does not compile; "stopped", the error that ended it while it was
loaded, which is the result of test `first`. Each reply is a JSON list of [outcome, message, expected, got,
exception, line], one for each line.
"""

import json
import marshal
from collections.abc import Callable
from typing import Any

import channel as channels
import clauses
import comparison
import confinement
from values import are_objects, decode, parse
from words import ENDINGS, clean, describe, error_message, refusal, show

MEMORY_BYTES = 512 << 20
NO_LIMIT = (1 << 64) - 1
Row = list[Any]


class ValueTest:
    """A test of the form `calls`: the value of one call."""

    def __init__(self, subject: str, expected: Any, tolerance: "float | None", strict: bool) -> None:
        self.subject = subject
        self._expected = expected
        self._tolerance = tolerance
        self._strict = strict
        self._shown = show(expected)

    def judge(self, message: "list[Any]") -> "Row | None":
        values = plain_values(message, 1)
        if values is None:
            return None
        got = show(values[0])
        if comparison.equal(self._expected, values[0], self._tolerance, self._strict):
            return ["passed", "", self._shown, got, None, None]
        words = f"{self.subject} returned {got}, expected {self._shown}"
        return ["failed", words, self._shown, got, None, None]


class ClauseTest:
    """A test of the form `asserts`: a clause about the values of some calls."""

    def __init__(
        self,
        subject: str,
        verb: str,
        text: str,
        code: Any,
        calls: int,
        expected: "str | None",
        pairs: "tuple[int, ...]" = (),
    ) -> None:
        self.subject = subject
        self._verb = verb
        self._text = clean(text)
        self._code = code
        self._calls = calls
        self._expected = None if expected is None else clean(expected)
        self._pairs = pairs  # which of the values are two and what the program says of them

    def judge(self, message: "list[Any]") -> "Row | None":
        values = plain_values(message, self._calls)
        if values is None:
            return None
        got = clean(", ".join(map(show, self._parts(values))))
        if clauses.holds(self._code, values, are_objects):
            return ["passed", "", self._expected, got, None, None]
        wanted = (
            f"expected {self._expected}"
            if self._expected is not None
            else f"and this does not hold: {self._text}"
        )
        return ["failed", f"{self.subject} {self._verb} {got}, {wanted}", self._expected, got, None, None]

    def _parts(self, values: "list[Any]") -> "list[Any]":
        parts: list[Any] = []
        for index, value in enumerate(values):
            is_pair = index in self._pairs and type(value) is tuple and len(value) == 3
            parts += value[:2] if is_pair else [value]
        return parts


class TextTest:
    """A test of the form `stdio`: the output of the whole program."""

    def __init__(self, subject: str, expected: str, leniency: "tuple[Any, ...]") -> None:
        self.subject = subject
        self._expected = expected
        self._leniency = leniency
        self._shown = show(expected)

    def judge(self, message: "list[Any]") -> "Row | None":
        if message[0] != "s" or len(message) != 3 or type(message[1]) is not str:
            return None
        _, stdout, error = message
        if error is not None:
            return raised(self.subject, error) if type(error) is list else None
        got = show(stdout)
        if comparison.same_text(self._expected, stdout, *self._leniency):
            return ["passed", "", self._shown, got, None, None]
        words = f"{self.subject} printed {got}, expected {self._shown}"
        return ["failed", words, self._shown, got, None, None]


TESTS: "dict[str, Callable[..., Any]]" = {"value": ValueTest, "clause": ClauseTest, "text": TextTest}


def plain_values(message: "list[Any]", count: int) -> "list[Any] | None":
    """The `count` values in `["v", [...]]`; None where it is no such line."""
    if message[0] != "v" or len(message) != 2 or type(message[1]) is not list or len(message[1]) != count:
        return None
    try:
        return [decode(value) for value in message[1]]
    except (ValueError, RecursionError):
        return None


def raised(subject: str, parts: "list[Any]") -> "Row | None":
    """The result of a test that ended in the exception `[type, text, line]`; None where it is not one."""
    error = error_message(parts)
    if error is None:
        return None
    kind, text, line = error
    if kind == "OutputLimitError":
        return ended(subject, "output limit")
    if kind == "MemoryError":
        return [*ended(subject, "out of memory")[:4], kind, line]
    return ["error", f"{subject} stopped with {describe(kind, text, line)}", None, None, kind, line]


def judge(test: Any, line: bytes) -> Row:
    """The result of one test from the line that the student's process wrote for it."""
    try:
        message = parse(line)
        tag = message[0] if message is not None else ""
        if tag == "o":
            return ended(test.subject, "output limit")
        row = raised(test.subject, message[1:]) if tag == "e" else message and test.judge(message)
    except MemoryError:
        return ["failed", f"{test.subject} gave a value that is too large to compare", None, None, None, None]
    return row or ended(test.subject, "error")  # no line of a student's process: the program wrote it over


def ended(subject: str, outcome: str) -> Row:
    """The result of a test without an answer that could be compared."""
    return [outcome, f"{subject} {ENDINGS[outcome]}", None, None, None, None]


def reply(tests: "list[Any]", kind: str, first: int, lines: "list[bytes]") -> "list[Row]":
    """The rows for the lines of one request."""
    if kind == "refused":
        return [["not run", refusal((parse(lines[0]) or [])[1:]), None, None, None, None]]
    if kind == "stopped":
        subject = "your program"
        message = parse(lines[0])
        return [(message and message[0] == "x" and raised(subject, message[1:])) or ended(subject, "error")]
    return [judge(test, line) for test, line in zip(tests[first:], lines, strict=False)]


def serve(channel: int, seccomp: "confinement.SeccompFilter | None") -> None:
    """Confine this process, then serve the requests that come until the caller hangs up."""
    confinement.die_with_parent()
    if seccomp is not None:
        seccomp.install()
    confinement.limit_program(MEMORY_BYTES, NO_LIMIT)
    known: dict[str, list[Any]] = {}
    while True:
        key, tests, kind, first, lines = marshal.loads(channels.receive(channel))
        if tests is not None:
            known[key] = [TESTS[name](*fields) for name, *fields in marshal.loads(tests)]
        channels.write(channel, json.dumps(reply(known[key], kind, first, lines)))

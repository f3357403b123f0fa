"""Tests of the form `stdio`: the program is run as a script, and what it prints is compared with a text."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from tutee_grader.forms.reading import TestsYaml
from tutee_grader.forms.scoring import Leniency, Mode, clean, error_message, raised
from tutee_grader.verdict import Outcome, TestResult

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class ScriptTest:
    """An input, and what the program must print for it."""

    name: str
    stdin: str
    stdout: str
    weight: float = 1.0

    mode: ClassVar[Mode] = "stdio"

    @property
    def subject(self) -> str:
        return f"the run with {clean(self.name, 80)}"

    def inputs(self) -> bytes:
        return self.stdin.encode("utf-8", "replace")

    def judge(self, message: list[Any], leniency: Leniency) -> TestResult | None:
        """From `["s", stdout, null or [type, message, line]]`."""
        if message[0] != "s" or len(message) != 3 or type(message[1]) is not str:
            return None
        _, stdout, error = message
        if error is not None:
            described = error_message(error) if type(error) is list else None
            return raised(self, *described) if described else None
        expected, got = clean(repr(self.stdout)), clean(repr(stdout))
        if same_text(self.stdout, stdout, leniency):
            return TestResult(self.name, Outcome.PASSED, "", expected, got)
        words = f"{self.subject} printed {got}, expected {expected}"
        return TestResult(self.name, Outcome.FAILED, words, expected, got)


def read(settings: TestsYaml) -> dict[str, Any]:
    """The fields of Assignment that the rows and options of tests.yaml give."""
    tests = tuple(_test(settings, row, index) for index, row in enumerate(settings.rows()))
    return {"tests": tests, "leniency": settings.section("options", Leniency)}


def _test(settings: TestsYaml, row: Any, index: int) -> ScriptTest:
    settings.check_keys(row, {"stdin", "stdout", "weight", "name"}, index)
    stdin, stdout = row.get("stdin", ""), row.get("stdout")
    if not isinstance(stdin, str) or not isinstance(stdout, str):
        raise settings.error("stdin and stdout must both be text (put numbers in quotes)", index)
    shown = " ".join(stdin.split())
    name = str(row.get("name") or (f"input {shown!r}" if shown else "no input"))
    return ScriptTest(name, stdin, stdout, settings.number(row, "weight", 1.0, index) or 0.0)


def same_text(expected: str, got: str, leniency: Leniency) -> bool:
    """Whether a program's output is the expected text, but for the differences that do not count."""
    wanted, found = _lines(expected, leniency), _lines(got, leniency)
    if leniency.contains:
        remaining = iter(found)
        return all(any(_contains(line, want, leniency) for line in remaining) for want in wanted if want)
    return len(wanted) == len(found) and all(
        map(_same_line, wanted, found, [leniency.tolerance] * len(wanted))
    )


def _lines(text: str, leniency: Leniency) -> list[str]:
    text = text.replace("\r\n", "\n")
    if leniency.case == "ignore":
        text = text.casefold()
    lines = text.split("\n")
    if leniency.trailing_blanks == "ignore":
        lines = [line.rstrip() for line in lines]
        while lines and not lines[-1]:
            lines.pop()
    return lines


def _contains(line: str, want: str, leniency: Leniency) -> bool:
    if want in line:
        return True
    if not leniency.tolerance:
        return False
    pattern = _NUMBER.sub("\0", want).split("\0")
    numbers = _NUMBER.findall(want)
    if not numbers:
        return False
    regex = re.escape(pattern[0]) + "".join(f"({_NUMBER.pattern}){re.escape(part)}" for part in pattern[1:])
    for match in re.finditer(regex, line):
        if all(
            abs(float(a) - float(b)) <= leniency.tolerance
            for a, b in zip(numbers, match.groups(), strict=True)
        ):
            return True
    return False


def _same_line(want: str, found: str, tolerance: float) -> bool:
    if want == found:
        return True
    if not tolerance or _NUMBER.sub("\0", want) != _NUMBER.sub("\0", found):
        return False
    pairs = zip(_NUMBER.findall(want), _NUMBER.findall(found), strict=True)
    return all(abs(float(a) - float(b)) <= tolerance for a, b in pairs)

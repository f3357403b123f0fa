"""Tests of the form `stdio`: the program is run as a script, and what it prints is compared with a text."""

from dataclasses import dataclass
from typing import Any, ClassVar

from tutee_grader.forms.reading import TestsYaml
from tutee_grader.forms.scoring import Leniency, Mode
from tutee_grader.sandbox.inside.words import clean


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

    def expectation(self, leniency: Leniency) -> tuple[object, ...]:
        options = (leniency.trailing_blanks, leniency.case, leniency.tolerance, leniency.contains)
        return "text", self.subject, self.stdout, options


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

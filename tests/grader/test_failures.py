"""The kinds of error are read from real verdicts of every form of tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from tutee_grader import Assignment, Grader
from tutee_grader.failures import error, failed
from tutee_grader.verdict import VERDICT_COLUMNS

FORMS: dict[str, dict[str, Any]] = {
    "calls": {"tests.yaml": {"form": "calls", "tests": [{"call": "f(2)", "returns": "4"}]}},
    "asserts": {"test.py": "assert f(2) == 4\n"},
    "stdio": {"tests.yaml": {"form": "stdio", "tests": [{"stdin": "", "stdout": "4"}]}},
    "unittest": {
        "test.py": "import unittest\nimport program\n\n\nclass TestF(unittest.TestCase):\n"
        "    def test_f(self):\n        self.assertEqual(program.f(2), 4)\n"
    },
}
PRINTS = "\nif __name__ == '__main__':\n    print(f(2))\n"

Found = Callable[[str, str], dict[str, Any]]


@pytest.fixture
def found(grader: Grader, tmp_path: Path) -> Found:
    def found(form: str, program: str) -> dict[str, Any]:
        """`failed` and `error` of a program graded by one test of the form."""
        (tmp_path / "task.md").write_text("Write `f`.\n")
        for name, content in FORMS[form].items():
            text = content if isinstance(content, str) else yaml.safe_dump(content)
            (tmp_path / name).write_text(text)
        assignment = Assignment.load(tmp_path, tests=form)
        (verdict,) = grader.grade([(assignment, program + PRINTS)])
        rows = pl.DataFrame([verdict.to_row()], VERDICT_COLUMNS)
        return rows.select(failed=failed("outcome"), error=error()).row(0, named=True)

    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("return 2 * n", None),
        ("return n + 3", "wrong result"),
        ("return m", "NameError"),
        ("return {}[n]", "KeyError"),
        ("raise ValueError", "ValueError"),
        ("raise ValueError('f(2) stopped with NameError: \"x\"')", "ValueError"),
        ("class Ada(Exception): pass\n    raise Ada", "another exception"),
        ("return 2 * n)", "does not compile"),
    ],
)
def test_the_kind_of_error_is_that_of_the_first_failing_test(
    found: Found, form: str, body: str, kind: str | None
) -> None:
    row = found(form, f"def f(n):\n    {body}\n")

    assert row["error"] == kind
    assert len(row["failed"]) == (kind is not None)


def test_an_exception_before_any_test_is_the_kind_of_error(found: Found) -> None:
    assert (
        found("calls", "import nothing_of_that_name\n\ndef f(n): return 4\n")["error"]
        == "ModuleNotFoundError"
    )


def of_tests(*tests: tuple[str, str], grade: float | None = 50.0) -> dict[str, Any]:
    listed = [
        {"name": str(n), "outcome": outcome, "message": words} for n, (outcome, words) in enumerate(tests)
    ]
    row = {"grade": grade, "status": "compiles", "tests": listed}
    rows = pl.DataFrame([row], VERDICT_COLUMNS)
    return rows.select(failed=failed("name"), error=error()).row(0, named=True)


def test_only_the_first_test_that_did_not_pass_gives_the_kind() -> None:
    row = of_tests(("passed", ""), ("timeout", "f(2) did not end in time"), ("failed", "f(3) returned 4"))

    assert row == {"failed": ["1", "2"], "error": "timeout"}


def test_an_exception_of_the_instructors_test_is_the_kind_of_error() -> None:
    assert of_tests(("error", "TestF.test_f: KeyError: \"'x'\""))["error"] == "KeyError"


def test_an_error_without_an_exception_keeps_the_name_of_its_outcome() -> None:
    assert of_tests(("error", "f(2) ended early"))["error"] == "error"


def test_full_marks_are_no_error_even_if_a_test_without_weight_failed() -> None:
    assert of_tests(("passed", ""), ("failed", "f(2) returned 3"), grade=100.0)["error"] is None


def test_without_a_verdict_there_is_neither_an_error_nor_a_failed_test() -> None:
    rows = pl.DataFrame([{"status": "unknown mark"}], VERDICT_COLUMNS)

    assert rows.select(failed=failed("name"), error=error()).row(0) == (None, None)

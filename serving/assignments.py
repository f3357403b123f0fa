"""Assignments that a request brings with it."""

import tempfile
from pathlib import Path

import yaml

from serving.errors import invalid_value
from serving.payloads import OwnAssignment
from tutee_grader.assignment import Assignment
from tutee_grader.errors import AssignmentError

FORMS = ("calls", "stdio")
MAX_TESTS = 100
TESTS = "assignment.tests"


def load_own(own: OwnAssignment) -> Assignment:
    """The assignment that a caller describes; raises ApiError where its tests cannot be used.

    Its limits are the grader's own: a caller does not choose how long programs run here.
    """
    unknown = sorted(own.tests.keys() - {"form", "tests"})
    if unknown:
        raise invalid_value(f"{TESTS} has {', '.join(unknown)}; it may have form and tests", TESTS)
    form, tests = own.tests.get("form"), own.tests.get("tests")
    if form not in FORMS:
        raise invalid_value(f"{TESTS}.form has value {form!r}; it must be one of {', '.join(FORMS)}", TESTS)
    if not isinstance(tests, list) or not 0 < len(tests) <= MAX_TESTS:
        raise invalid_value(f"{TESTS}.tests must be a list of 1 to {MAX_TESTS} tests", TESTS)
    with tempfile.TemporaryDirectory(prefix="tutee-") as name:
        folder = Path(name) / "assignment"
        folder.mkdir()
        (folder / "task.md").write_text(own.task, encoding="utf-8")
        (folder / "tests.yaml").write_text(yaml.safe_dump(own.tests), encoding="utf-8")
        try:
            return Assignment.load(folder)
        except AssignmentError as error:
            raise invalid_value(str(error).replace(f"{folder}/tests.yaml", TESTS), TESTS) from error

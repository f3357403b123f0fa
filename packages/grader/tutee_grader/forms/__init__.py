"""The forms that the tests of an assignment may have, one file each.

A form's file has its test class (how one test is run and judged; falcon and unittest share that of
instructor.py) and `read`, which turns the assignment's files into fields of Assignment. A new form is one
such file and one row of FORMS.
"""

from collections.abc import Callable
from typing import Any

from tutee_grader.forms import asserts, calls, falcon, stdio, unittest
from tutee_grader.forms.reading import TestsYaml

FORMS: dict[str, Callable[[TestsYaml], dict[str, Any]]] = {
    "calls": calls.read,
    "asserts": asserts.read,
    "stdio": stdio.read,
    "falcon": falcon.read,
    "unittest": unittest.read,
}

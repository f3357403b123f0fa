"""Tests of the form `falcon`: a FalconCode test case, whose `test_passed()` returns a score."""

import ast
from typing import Any

from tutee_grader.errors import AssignmentError
from tutee_grader.forms.instructor import FileTest
from tutee_grader.forms.reading import TestsYaml, parse_python, read_text


def read(settings: TestsYaml) -> dict[str, Any]:
    """The fields of Assignment that the file test.py and the option `max_score` give."""
    options = settings.data.get("options") or {}
    settings.check_keys(options, {"max_score"}, "options")
    max_score = settings.number(options, "max_score", 100.0, "options") or 100.0
    path = settings.test_file
    source = read_text(path)
    tree = parse_python(path, source)
    if not any(isinstance(node, ast.FunctionDef) and node.name == "test_passed" for node in tree.body):
        raise AssignmentError(f"{path}, line 1: a FalconCode test case must define test_passed()")
    return {"tests": (FileTest("test_passed"),), "test_source": source, "max_score": max_score}

"""Tests of the form `unittest`: a file of `unittest.TestCase` classes or pytest-style functions."""

import ast
from typing import Any

from tutee_grader.errors import AssignmentError
from tutee_grader.forms.instructor import FileTest
from tutee_grader.forms.reading import TestsYaml, parse_python, read_text


def read(settings: TestsYaml) -> dict[str, Any]:
    """The fields of Assignment that the file test.py gives."""
    path = settings.test_file
    source = read_text(path)
    tests = []
    for node in parse_python(path, source).body:
        if isinstance(node, ast.ClassDef):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            tests += [FileTest(f"{node.name}.{m.name}") for m in methods if m.name.startswith("test")]
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            if node.args.args and "parametrize" not in "".join(map(ast.unparse, node.decorator_list)):
                names = ", ".join(argument.arg for argument in node.args.args)
                raise AssignmentError(f"{path}, line {node.lineno}: fixtures are not supported: {names}")
            tests.append(FileTest(node.name))
    if not tests:
        raise AssignmentError(f"{path}, line 1: no test; name methods or functions test_...")
    return {"tests": tuple(tests), "test_source": source}

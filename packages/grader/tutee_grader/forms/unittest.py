"""Tests of the form `unittest`: a file of `unittest.TestCase` classes or pytest-style functions."""

import ast
from typing import Any

from tutee_grader.errors import AssignmentError
from tutee_grader.forms.classes import Function, TestClasses
from tutee_grader.forms.instructor import FileTest
from tutee_grader.forms.reading import TestsYaml, parse_python, read_text
from tutee_grader.sandbox.inside.zygote_messages import PYTEST_MARKS, PYTEST_NAMES

Problems = list[tuple[int, str]]  # line and words

_PARTS = ("function", "module", "method", "class")
_HOOKS = {f"{when}_{part}" for when in ("setup", "teardown") for part in _PARTS} | {"setup", "teardown"}


def read(settings: TestsYaml) -> dict[str, Any]:
    """The fields of Assignment that the file test.py gives.

    Raises AssignmentError with all that cannot work here, a line for each.
    """
    path = settings.test_file
    source = read_text(path)
    tree = parse_python(path, source)
    classes = TestClasses(tree)
    functions = [node for node in tree.body if isinstance(node, Function) and node.name.startswith("test")]
    names = [f"{kind}.{method.name}" for kind in classes.tested for method in classes.tests(kind)]
    names += [function.name for function in functions]
    problems = [
        *_class_problems(classes),
        *_function_problems(functions),
        *_hook_problems([tree, *map(classes.node, classes.tested)]),
        *_pytest_problems(tree),
    ]
    if not names and not problems:
        problems = [(1, "no test; name methods or functions test_...")]
    if problems:
        raise AssignmentError(
            "\n".join(f"{path}, line {line}: {words}" for line, words in sorted(set(problems)))
        )
    return {"tests": tuple(map(FileTest, dict.fromkeys(names))), "test_source": source}


def _class_problems(classes: TestClasses) -> Problems:
    way_out = "is no unittest.TestCase; derive it from that, make its tests functions or rename them"
    problems = [
        (classes.node(kind).lineno, f"the class {kind} {way_out}") for kind in classes.without_test_case
    ]
    methods = [method for kind in classes.tested for method in classes.tests(kind)]
    return problems + [
        _async_problem(method) for method in methods if isinstance(method, ast.AsyncFunctionDef)
    ]


def _function_problems(functions: list[Function]) -> Problems:
    problems = [_async_problem(test) for test in functions if isinstance(test, ast.AsyncFunctionDef)]
    for test in functions:
        if test.args.args and "parametrize" not in "".join(map(ast.unparse, test.decorator_list)):
            names = ", ".join(argument.arg for argument in test.args.args)
            problems.append((test.lineno, f"fixtures are not supported: {names}"))
    return problems


def _async_problem(test: Function) -> tuple[int, str]:
    return test.lineno, f"{test.name} is async, which is not supported; call asyncio.run in a plain test"


def _hook_problems(scopes: list[Any]) -> Problems:
    """Functions that pytest would call by their names, among the statements of a file or a class."""
    found = [node for scope in scopes for node in scope.body if isinstance(node, Function)]
    way_out = "is not called here; use setUp, tearDown, setUpClass or tearDownClass of a unittest.TestCase"
    return [(node.lineno, f"{node.name} {way_out}") for node in found if node.name in _HOOKS]


def _pytest_problems(tree: ast.Module) -> Problems:
    """Uses of what the stand-in for pytest lacks."""
    problems, modules, marks = [], set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name for alias in node.names if alias.name == "pytest"}
        elif isinstance(node, ast.ImportFrom) and node.module == "pytest":
            marks |= {alias.asname or alias.name for alias in node.names if alias.name == "mark"}
            names = [alias.name for alias in node.names if alias.name not in (*PYTEST_NAMES, "*")]
            problems += [(node.lineno, _lacks(name)) for name in names]
    marks |= {f"{module}.mark" for module in modules}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if owner in modules and node.attr not in PYTEST_NAMES:
                problems.append((node.lineno, _lacks(node.attr)))
            elif owner in marks and node.attr not in PYTEST_MARKS:
                problems.append((node.lineno, _lacks(f"mark.{node.attr}")))
    return problems


def _lacks(name: str) -> str:
    marks = [f"pytest.mark.{mark}" for mark in PYTEST_MARKS]
    known = [f"pytest.{known}" for known in PYTEST_NAMES if known != "mark"] + marks
    return f"pytest.{name} is not supported; there are {', '.join(known)}, and all of unittest"

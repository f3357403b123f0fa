"""Tests of the form `unittest`: a file of `unittest.TestCase` classes or pytest-style functions."""

import ast
from collections.abc import Iterator
from typing import Any

from tutee_grader.errors import AssignmentError
from tutee_grader.forms.instructor import FileTest
from tutee_grader.forms.reading import TestsYaml, parse_python, read_text
from tutee_grader.sandbox.inside.zygote_messages import PYTEST

_FIXTURES = {f"{when}_{what}" for when in ("setup", "teardown") for what in ("function", "module", "method")}
Problem = tuple[int, str]  # with its line


def read(settings: TestsYaml) -> dict[str, Any]:
    """The fields of Assignment that the file test.py gives."""
    path = settings.test_file
    source = read_text(path)
    tree = parse_python(path, source)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    problems = [*_of_classes(classes), *_of_functions(tree.body), *_of_pytest(tree)]
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and _is_case(node, classes):
            names += [f"{node.name}.{method}" for method in _methods(node, classes)]
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            names.append(node.name)
    if not names and not problems:
        problems = [(1, "no test; name methods or functions test_...")]
    if problems:
        raise AssignmentError("\n".join(f"{path}, line {line}: {words}" for line, words in sorted(problems)))
    return {"tests": tuple(map(FileTest, names)), "test_source": source}


def _bases(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> list[ast.ClassDef]:
    """The classes of the same file that it derives from directly."""
    names = [base.id for base in node.bases if isinstance(base, ast.Name)]
    return [classes[name] for name in names if name in classes and classes[name].lineno < node.lineno]


def _is_case(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> bool:
    """Whether it is a unittest.TestCase, by what its bases are called."""
    called = any(ast.unparse(base).rpartition(".")[2] == "TestCase" for base in node.bases)
    return called or any(_is_case(base, classes) for base in _bases(node, classes))


def _methods(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> list[str]:
    """The names of its tests, also those that it inherits."""
    own = [part.name for part in node.body if isinstance(part, ast.FunctionDef)]
    inherited = [name for base in _bases(node, classes) for name in _methods(base, classes)]
    return list(dict.fromkeys([name for name in own if name.startswith("test")] + inherited))


def _of_classes(classes: dict[str, ast.ClassDef]) -> Iterator[Problem]:
    cases = [node for node in classes.values() if _is_case(node, classes)]
    used = {name for node in cases for name in _ancestors(node, classes)}
    for node in classes.values():
        if node not in cases and node.name not in used and _methods(node, classes):
            words = "is no unittest.TestCase; derive it from that, or make its tests functions"
            yield node.lineno, f"class {node.name} {words}"


def _ancestors(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> Iterator[str]:
    for base in _bases(node, classes):
        yield base.name
        yield from _ancestors(base, classes)


def _of_functions(body: list[ast.stmt]) -> Iterator[Problem]:
    for node in body:
        if not isinstance(node, ast.FunctionDef):
            continue
        if node.name in _FIXTURES:
            yield node.lineno, f"{node.name} would not be called; use setUp of a unittest.TestCase"
            continue
        has_values = "parametrize" in "".join(map(ast.unparse, node.decorator_list))
        if node.name.startswith("test") and node.args.args and not has_values:
            names = ", ".join(argument.arg for argument in node.args.args)
            yield node.lineno, f"fixtures are not supported: {names}"


def _of_pytest(tree: ast.Module) -> Iterator[Problem]:
    """Names of pytest's that its stand-in in the judge (pytest_stub) lacks."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Attribute):
            for name in _names_of_pytest(node):
                if name not in ("mark", *PYTEST):
                    yield node.lineno, f"pytest.{name} is not supported; there are {', '.join(PYTEST)}"


def _names_of_pytest(node: ast.ImportFrom | ast.Attribute) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [alias.name for alias in node.names if alias.name != "*"] if node.module == "pytest" else []
    owner = ast.unparse(node.value)
    if owner == "pytest":
        return [node.attr]
    return [f"mark.{node.attr}"] if owner in ("pytest.mark", "mark") else []

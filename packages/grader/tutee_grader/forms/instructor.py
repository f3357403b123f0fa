"""What the forms `falcon` and `unittest` share: an instructor's own test code, run in a judge's process."""

import ast
import json
import marshal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from tutee_grader.forms.reading import global_names
from tutee_grader.forms.scoring import Mode, Test, ended
from tutee_grader.sandbox.inside.words import clean, line_number, name
from tutee_grader.sandbox.inside.zygote_messages import CAUGHT, COMPARE
from tutee_grader.verdict import Outcome, TestResult

TESTS = "tests.py"
MAX_MESSAGE = 300
_ANY = ("Exception", "BaseException")  # names of what catches whatever the program may raise
MAX_RESULT_BYTES = 16384  # of one test, as the judge writes it


@dataclass(frozen=True, slots=True)
class FileTest:
    """One test of an instructor's own test file."""

    name: str
    weight: float = 1.0

    mode: ClassVar[Mode] = "serve"

    @property
    def subject(self) -> str:
        return clean(self.name, 80)


@lru_cache(maxsize=64)
def compile_tests(source: str) -> bytes:
    """The file, which `Assignment.load` has parsed before, as a marshalled code object.

    Its bare asserts are rewritten to say what they compare, and its handlers of any exception to tell when
    they begin.
    """
    tree = ast.fix_missing_locations(_Rewriter().visit(ast.parse(source, TESTS)))
    return marshal.dumps(compile(tree, TESTS, "exec", dont_inherit=True))


@lru_cache(maxsize=64)
def student_modules(source: str) -> list[str]:
    """The names by which the file imports the student's program: all that are not Python's own."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return sorted(names - sys.stdlib_module_names - {"pytest", "cs110"})


@dataclass(frozen=True, slots=True)
class StarNames:
    """What `from program import *` must not bring into a test file.

    `own`: names that the file binds itself. `stars`: other modules than the student's that it imports with a
    star. `meant`: names that the reference solution defines, so that the task is about them even where Python
    has the same.
    """

    own: tuple[str, ...]
    stars: tuple[str, ...]
    meant: tuple[str, ...]


@lru_cache(maxsize=64)
def star_names(source: str, solution: str | None) -> StarNames:
    """The names of a test file, which `Assignment.load` has parsed before, and of the reference solution."""
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    stars = {node.module for node in imports if node.module and [alias.name for alias in node.names] == ["*"]}
    own = global_names(source)
    students = student_modules(source)
    others = {module for module in stars if module.partition(".")[0] not in students}
    return StarNames(tuple(sorted(own)), tuple(sorted(others)), defined_names(solution))


@lru_cache(maxsize=64)
def defined_names(solution: str | None) -> tuple[str, ...]:
    """Functions and classes at the top of a reference solution."""
    try:
        body = ast.parse(solution or "").body
    except (SyntaxError, ValueError):
        return ()
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return tuple(sorted({node.name for node in body if isinstance(node, kinds)}))


class _Rewriter(ast.NodeTransformer):
    """Puts calls of the judge's functions into a test file."""

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        """`except Exception` and its like begin with a call that looks at the exception."""
        self.generic_visit(node)
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        if node.type is None or any(ast.unparse(kind).split(".")[-1] in _ANY for kind in kinds if kind):
            node.body.insert(
                0, ast.copy_location(ast.Expr(ast.Call(ast.Name(CAUGHT, ast.Load()), [], [])), node)
            )
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """A bare `assert a == b` becomes one call that compares and, if need be, says both values."""
        test = node.test
        if node.msg is not None:
            return node
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            text, operator = ast.unparse(test.left), type(test.ops[0]).__name__
            values: list[ast.expr] = [test.left, test.comparators[0]]
        else:
            text, operator, values = ast.unparse(test), "Holds", [test, ast.Constant(True)]
        words: list[ast.expr] = [ast.Constant(text), ast.Constant(operator)]
        call = ast.Call(ast.Name(COMPARE, ast.Load()), [*words, *values], [])
        return ast.copy_location(ast.Expr(call), node)


def read_result(line: bytes, tests: Mapping[str, Test]) -> tuple[TestResult, float | None] | None:
    """The result of one test, and the grade (0 to 100) where the test gives one, from the judge's
    `[name, outcome, message, exception, line, share]`; None where it is not such a line.
    """
    if len(line) > MAX_RESULT_BYTES:
        return None
    try:
        parts = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if type(parts) is not list or not _are_parts(parts):
        return None
    test, outcome = tests.get(parts[0]), Outcome(parts[1])
    return (_result(test, outcome, *parts[2:]), parts[5]) if test is not None else None


def _are_parts(parts: list[Any]) -> bool:
    if len(parts) != 6 or not all(type(part) is str for part in parts[:3]) or parts[1] not in list(Outcome):
        return False
    exception, line, share = parts[3:]
    return (
        (exception is None or type(exception) is str)
        and (line is None or type(line) is int)
        and (share is None or (type(share) is float and 0.0 <= share <= 100.0))
    )


def _result(
    test: Test, outcome: Outcome, message: str, exception: str | None, line: int | None, share: float | None
) -> TestResult:
    if outcome == Outcome.PASSED:
        return TestResult(test.name, outcome)
    if not message:
        return ended(test, outcome)
    words = clean(message, MAX_MESSAGE)
    if share is None:  # with a share, the words are about the program as a whole
        words = f"{test.name}: {words}"
    kind = None if exception is None else name(exception, "Exception")
    return TestResult(test.name, outcome, words, exception=kind, line=line_number(line))

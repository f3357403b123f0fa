"""Tests of the form `asserts`: a file of `assert a and b and ...`, each clause of which is one test.

A clause is split into calls of the student's functions, which run in the student's process, and the rest (the
comparison, the expected value, the built-in functions around the call), which is evaluated here over the
plain values that come back: `sorted(f([2, 1])) == [1, 2]` runs `f([2, 1])` inside and the rest outside.
"""

import ast
import math
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any, ClassVar

from tutee_grader.errors import AssignmentError
from tutee_grader.forms.calls import compile_call, plain_values
from tutee_grader.forms.reading import TestsYaml, read_text
from tutee_grader.forms.scoring import Leniency, Mode, clean, show
from tutee_grader.verdict import Outcome, TestResult

_NAMES = {
    f.__name__: f
    for f in (
        abs,
        all,
        any,
        bool,
        dict,
        float,
        frozenset,
        int,
        isinstance,
        len,
        list,
        max,
        min,
        round,
        set,
        sorted,
        str,
        sum,
        tuple,
        type,
    )
} | {"math": math, "nan": math.nan, "inf": math.inf}
_ALLOWED = (
    ast.Expression,
    ast.Compare,
    ast.BoolOp,
    ast.UnaryOp,
    ast.BinOp,
    ast.Constant,
    ast.List,
    ast.Tuple,
    ast.Set,
    ast.Dict,
    ast.Call,
    ast.Name,
    ast.Load,
    ast.Attribute,
    ast.Subscript,
    ast.Slice,
    ast.IfExp,
    ast.keyword,
    ast.Starred,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
)


class ClauseError(ValueError):
    """A test file that is not made of assert statements over calls and literals."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause: `calls` run inside; `expression` is evaluated outside, with their values as `_0`, `_1`."""

    text: str
    calls: tuple[str, ...]
    expression: str

    def holds(self, values: list[Any]) -> bool:
        """Whether the clause is true of what the calls returned. Raises what the expression raises."""
        names = {f"_{index}": value for index, value in enumerate(values)}
        return bool(eval(_compiled(self.expression), {"__builtins__": {}}, _NAMES | names))

    def expected(self) -> str | None:
        """The literal a lone call is compared with, as text; None where the clause is of another shape."""
        return _expected(self.expression)


@dataclass(frozen=True, slots=True)
class ClauseTest:
    """One clause of an assert statement."""

    name: str
    clause: Clause
    weight: float = 1.0

    mode: ClassVar[Mode] = "calls"

    @property
    def subject(self) -> str:
        return clean(", ".join(self.clause.calls), 80)

    def inputs(self) -> list[object]:
        return [compile_call(call) for call in self.clause.calls]

    def judge(self, message: list[Any], leniency: Leniency) -> TestResult | None:
        """From `["v", [value of each call]]`."""
        values = plain_values(message, len(self.clause.calls))
        if values is None:
            return None
        expected = self.clause.expected()
        got = ", ".join(map(show, values))
        try:
            holds = self.clause.holds(values)
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError):
            holds = False  # the values are not of a kind that the clause can compare
        if holds:
            return TestResult(self.name, Outcome.PASSED, "", expected, got)
        wanted = (
            f"expected {clean(expected)}"
            if expected is not None
            else f"and this does not hold: {clean(self.name)}"
        )
        words = f"{self.subject} returned {got}, {wanted}"
        return TestResult(self.name, Outcome.FAILED, words, expected, got)


def read(settings: TestsYaml) -> dict[str, Any]:
    """The fields of Assignment that the file test.py gives."""
    path = settings.test_file
    try:
        clauses = read_clauses(read_text(path))
    except ClauseError as error:
        raise AssignmentError(f"{path}, line {error.line}: {error}") from None
    return {"tests": tuple(ClauseTest(clause.text, clause) for clause in clauses)}


@lru_cache(maxsize=4096)
def _compiled(expression: str) -> CodeType:
    return compile(expression, "<clause>", "eval", dont_inherit=True)


@lru_cache(maxsize=4096)
def _expected(expression: str) -> str | None:
    node = ast.parse(expression, mode="eval").body
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq | ast.Is):
        sides = [node.left, node.comparators[0]]
        rest = [side for side in sides if not (isinstance(side, ast.Name) and side.id == "_0")]
        if len(rest) == 1:
            return ast.unparse(rest[0])
    return None


def read_clauses(source: str) -> list[Clause]:
    """The clauses of a test file. Raises ClauseError with the line."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ClauseError(error.lineno or 1, f"not Python: {error.msg}") from None
    except ValueError as error:
        raise ClauseError(1, f"not Python: {error}") from None
    clauses = []
    for statement in tree.body:
        if not isinstance(statement, ast.Assert):
            raise ClauseError(
                statement.lineno, f"only assert statements can stand here, not `{_short(statement)}`"
            )
        clauses += [_clause(node) for node in _conjuncts(statement.test)]
    if not clauses:
        raise ClauseError(1, "no assert statement in the file")
    return clauses


def _conjuncts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return [part for value in node.values for part in _conjuncts(value)]
    return [node]


def _clause(node: ast.expr) -> Clause:
    text = ast.unparse(node)
    extractor = _CallExtractor()
    rest = extractor.visit(node)
    if not extractor.calls:
        raise ClauseError(node.lineno, f"no call of a student's function in `{_short(node)}`")
    for part in ast.walk(rest):
        if isinstance(part, ast.Name) and part.id not in _NAMES and part.id not in extractor.names:
            raise ClauseError(
                node.lineno, f"unknown name {part.id!r} in `{_short(node)}`; is it a text without quotes?"
            )
        if not isinstance(part, _ALLOWED):
            raise ClauseError(node.lineno, f"{type(part).__name__} cannot be used in `{_short(node)}`")
    return Clause(text, tuple(extractor.calls), ast.unparse(rest))


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 80 else text[:77] + "..."


class _CallExtractor(ast.NodeTransformer):
    """Replaces each outermost call of something that is not a built-in by the name of its result."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.names: set[str] = set()

    def visit_Call(self, node: ast.Call) -> ast.AST:
        root: ast.AST = node.func
        while isinstance(root, ast.Attribute | ast.Call | ast.Subscript):
            root = root.func if isinstance(root, ast.Call) else root.value
        if isinstance(root, ast.Name) and root.id not in _NAMES:
            for part in ast.walk(node):
                if (
                    isinstance(part, ast.Name)
                    and part is not root
                    and part.id not in _NAMES
                    and not _is_called(part, node)
                ):
                    raise ClauseError(node.lineno, f"unknown name {part.id!r} in `{_short(node)}`")
            name = f"_{len(self.calls)}"
            self.calls.append(ast.unparse(node))
            self.names.add(name)
            return ast.copy_location(ast.Name(name, ast.Load()), node)
        return self.generic_visit(node)


def _is_called(name: ast.Name, tree: ast.AST) -> bool:
    return any(isinstance(part, ast.Call) and part.func is name for part in ast.walk(tree))

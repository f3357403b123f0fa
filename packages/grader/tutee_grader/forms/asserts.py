"""Tests of the form `asserts`: a file of `assert a and b and ...`, each clause of which is one test.

A clause is split into what is the program's (calls of its functions, its global names), which the student's
process evaluates, and the rest (the comparison, the expected value, the built-in functions around the call),
which the comparer evaluates over the plain values that come back: `sorted(f([2, 1])) == [1, 2]` runs
`f([2, 1])` in the student's process and the rest in the comparer's. Of two objects of the program's own
(`P(1) == P(1)`, `isinstance(Dog(), Animal)`), and of the text of one (`str(P(1))`), the program decides.
"""

import ast
import builtins
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any, ClassVar

from tutee_grader.errors import AssignmentError
from tutee_grader.forms.calls import compile_call
from tutee_grader.forms.reading import TestsYaml, global_names, parse_python, read_text
from tutee_grader.forms.scoring import Leniency, Mode
from tutee_grader.sandbox.inside.clauses import ARE_OBJECTS, NAMES
from tutee_grader.sandbox.inside.words import clean

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
    """One clause: `calls` are evaluated inside; `expression` outside, with their values as `_0`, `_1`, ...

    `subjects`: the calls as they stand in the test file; `pairs`: which of the values are a pair's.
    """

    text: str
    calls: tuple[str, ...]
    expression: str
    subjects: tuple[str, ...]
    pairs: tuple[int, ...]

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
        return clean(", ".join(self.clause.subjects), 80)

    def inputs(self) -> list[object]:
        # Beside a literal, an iterator equals nothing; elsewhere, as in `list(f(3))`, its items count.
        iterates = self.clause.expected() is None
        return [compile_call(call, iterates) for call in self.clause.calls]

    def expectation(self, leniency: Leniency) -> tuple[object, ...]:
        verb = "returned" if any("(" in subject for subject in self.clause.subjects) else "is"
        code = _compiled(self.clause.expression)
        calls = len(self.clause.calls)
        return "clause", self.subject, verb, self.name, code, calls, self.clause.expected(), self.clause.pairs


def read(settings: TestsYaml) -> dict[str, Any]:
    """The fields of Assignment that the file test.py gives."""
    path = settings.test_file
    solution = path.with_name("solution.py")
    known = None
    if solution.exists():
        text = read_text(solution)
        parse_python(solution, text)
        known = global_names(text)
    try:
        clauses = read_clauses(read_text(path), known)
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


def read_clauses(source: str, known: set[str] | None = None) -> list[Clause]:
    """The clauses of a test file. Raises ClauseError with the line.

    `known`: the names that the reference solution defines; None where there is none, and any name may be the
    program's.
    """
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
        clauses += [_clause(node, known) for node in _conjuncts(statement.test)]
    if not clauses:
        raise ClauseError(1, "no assert statement in the file")
    return clauses


def _conjuncts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return [part for value in node.values for part in _conjuncts(value)]
    return [node]


def _clause(node: ast.expr, known: set[str] | None) -> Clause:
    text, short = ast.unparse(node), _short(node)
    lone = _lone_names(node)
    extractor = _Extractor()
    rest = extractor.visit(node)
    # Without a solution any name may be the program's, but not where it alone says what is expected of it.
    unknown = sorted(lone if known is None else extractor.names - known - set(dir(builtins)))
    if unknown:
        raise ClauseError(
            node.lineno, f"unknown name {unknown[0]!r} in `{short}`; is it a text without quotes?"
        )
    if not extractor.calls:
        raise ClauseError(node.lineno, f"no call of a student's function in `{short}`")
    for part in ast.walk(rest):
        if not isinstance(part, _ALLOWED):
            raise ClauseError(node.lineno, f"{type(part).__name__} cannot be used in `{short}`")
    found = tuple(extractor.calls), ast.unparse(rest), tuple(extractor.subjects), tuple(extractor.pairs)
    return Clause(text, *found)


def _lone_names(node: ast.expr) -> set[str]:
    """The program's names that are a whole side of a comparison in which every side is the program's."""
    names = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Compare):
            sides = [part.left, *part.comparators]
            if all(_program_names(side) for side in sides):
                names |= {side.id for side in sides if isinstance(side, ast.Name)}
    return names


def _program_names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} - set(NAMES)


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 80 else text[:77] + "..."


class _Extractor(ast.NodeTransformer):
    """Replaces what is the program's, as far as it goes, by a name of its value."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.subjects: list[str] = []
        self.pairs: list[int] = []
        self.names: set[str] = set()  # of the program

    def visit(self, node: ast.AST) -> ast.AST:
        if _is_programs(node) or _asks_the_program(node):
            return self._value(node, ast.unparse(node), [node])
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            sides = [node.left, node.comparators[0]]
            if all(map(_is_programs, sides)):
                return self._pair(node, sides)
        return self.generic_visit(node)

    def _value(self, node: ast.AST, call: str, subjects: Sequence[ast.AST]) -> ast.Name:
        self.names |= _program_names(node)
        self.calls.append(call)
        self.subjects += map(ast.unparse, subjects)
        return ast.copy_location(ast.Name(f"_{len(self.calls) - 1}", ast.Load()), node)

    def _pair(self, node: ast.Compare, sides: list[ast.expr]) -> ast.AST:
        """Two of the program's values are compared as plain values, or by the program if neither is one."""

        def compared(left: str, right: str) -> str:
            return ast.unparse(ast.Compare(ast.Name(left), node.ops, [ast.Name(right)]))

        left, right = map(ast.unparse, sides)
        said = f"(lambda a, b: (a, b, True if {compared('a', 'b')} else False))({left}, {right})"
        self.pairs.append(len(self.calls))
        pair = self._value(node, said, sides).id
        rest = f"{pair}[2] if {ARE_OBJECTS}({pair}) else {compared(f'{pair}[0]', f'{pair}[1]')}"
        return ast.copy_location(ast.parse(rest, mode="eval").body, node)


def _is_programs(node: ast.AST) -> bool:
    """Whether it is a call, attribute or item of the program's, or one of its names."""
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return isinstance(node, ast.Name) and node.id not in NAMES


def _asks_the_program(node: ast.AST) -> bool:
    """Whether it is a call of Python's about values of the program's that only the program can answer."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.keywords:
        return False
    wanted = {"str": 1, "repr": 1, "isinstance": 2}.get(node.func.id)
    return len(node.args) == wanted and all(map(_is_programs, node.args))

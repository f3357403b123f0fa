"""Tests of the form `calls`: a call of the student's code, and the value it must return."""

import ast
from dataclasses import dataclass
from typing import Any, ClassVar

from tutee_grader.forms.reading import TestsYaml
from tutee_grader.forms.scoring import Leniency, Mode
from tutee_grader.sandbox.inside.words import clean


@dataclass(frozen=True, slots=True)
class CallTest:
    """A call, and the value it must return. The call may be several statements; the last is the value."""

    name: str
    call: str
    returns: Any
    tolerance: float | None = None
    weight: float = 1.0
    strict: bool = False  # 3 is not 3.0, and 1 is not True

    mode: ClassVar[Mode] = "calls"

    @property
    def subject(self) -> str:
        return clean(self.name, 80)

    def inputs(self) -> list[object]:
        return [compile_call(self.call)]

    def expectation(self, leniency: Leniency) -> tuple[object, ...]:
        return "value", self.subject, self.returns, self.tolerance, self.strict


def read(settings: TestsYaml) -> dict[str, Any]:
    """The fields of Assignment that the rows and options of tests.yaml give."""
    leniency = settings.section("options", Leniency)
    tests = tuple(_test(settings, row, index, leniency) for index, row in enumerate(settings.rows()))
    return {"tests": tests, "leniency": leniency}


def _test(settings: TestsYaml, row: Any, index: int, leniency: Leniency) -> CallTest:
    settings.check_keys(row, {"call", "returns", "tolerance", "weight", "name", "strict"}, index)
    call = row.get("call")
    if not isinstance(call, str):
        raise settings.error(f"call has value {call!r}. It must be a Python expression, as text", index)
    try:
        parsed = ast.parse(call)
    except (SyntaxError, ValueError) as error:
        raise settings.error(f"call {call!r} is not Python: {error}", index) from None
    if not parsed.body or not isinstance(parsed.body[-1], ast.Expr):
        raise settings.error(f"call {call!r} must end with an expression", index)
    if "returns" not in row:
        raise settings.error("returns is missing", index)
    try:
        returns = read_literal(str(row["returns"]))
    except ValueError:
        raise settings.error(
            f"returns has value {row['returns']!r}. It must be a Python literal", index
        ) from None
    tolerance = settings.number(row, "tolerance", None, index)
    strict = row.get("strict", leniency.strict)
    if not isinstance(strict, bool):
        raise settings.error(f"strict has value {strict!r}. It must be true or false", index)
    name = str(row.get("name") or call)
    weight = settings.number(row, "weight", 1.0, index) or 0.0
    return CallTest(name, call, returns, tolerance, weight, strict)


def read_literal(text: str) -> Any:
    """A Python literal, and `nan` and `inf`, which have none. Raises ValueError."""
    if text.strip() in ("nan", "inf", "-inf"):
        return float(text)
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(str(error)) from None


def compile_call(call: str, iterates: bool = False) -> tuple[object, object, bool]:
    """A call as code objects: its leading statements, if it has any, and the expression that is its value.

    The third part says whether the items of an iterator that comes back count.
    """
    tree = ast.parse(call)
    last = tree.body[-1]
    assert isinstance(last, ast.Expr)
    expression = compile(ast.Expression(last.value), "<test>", "eval", dont_inherit=True)
    if len(tree.body) == 1:
        return None, expression, iterates
    statements = compile(ast.Module(tree.body[:-1], []), "<test>", "exec", dont_inherit=True)
    return statements, expression, iterates

"""Tests of the form `calls`: a call of the student's code, and the value it must return."""

import ast
import math
from dataclasses import dataclass
from typing import Any, ClassVar

from tutee_grader.forms.reading import TestsYaml
from tutee_grader.forms.scoring import Leniency, Mode, clean, show
from tutee_grader.sandbox.inside.values import decode
from tutee_grader.verdict import Outcome, TestResult


@dataclass(frozen=True, slots=True)
class CallTest:
    """A call, and the value it must return. The call may be several statements; the last is the value."""

    name: str
    call: str
    returns: Any
    tolerance: float | None = None
    weight: float = 1.0

    mode: ClassVar[Mode] = "calls"

    @property
    def subject(self) -> str:
        return clean(self.name, 80)

    def inputs(self) -> list[object]:
        return [compile_call(self.call)]

    def judge(self, message: list[Any], leniency: Leniency) -> TestResult | None:
        """From `["v", [value]]`."""
        values = plain_values(message, 1)
        if values is None:
            return None
        expected, got = show(self.returns), show(values[0])
        if equal(self.returns, values[0], self.tolerance):
            return TestResult(self.name, Outcome.PASSED, "", expected, got)
        words = f"{self.subject} returned {got}, expected {expected}"
        return TestResult(self.name, Outcome.FAILED, words, expected, got)


def read(settings: TestsYaml) -> dict[str, Any]:
    """The fields of Assignment that the rows and options of tests.yaml give."""
    tests = tuple(_test(settings, row, index) for index, row in enumerate(settings.rows()))
    return {"tests": tests, "leniency": settings.section("options", Leniency)}


def _test(settings: TestsYaml, row: Any, index: int) -> CallTest:
    settings.check_keys(row, {"call", "returns", "tolerance", "weight", "name"}, index)
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
    name = str(row.get("name") or call)
    return CallTest(name, call, returns, tolerance, settings.number(row, "weight", 1.0, index) or 0.0)


def read_literal(text: str) -> Any:
    """A Python literal, and `nan` and `inf`, which have none. Raises ValueError."""
    if text.strip() in ("nan", "inf", "-inf"):
        return float(text)
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(str(error)) from None


def compile_call(call: str) -> tuple[object, object]:
    """A call as code objects: its leading statements, if it has any, and the expression that is its value."""
    tree = ast.parse(call)
    last = tree.body[-1]
    assert isinstance(last, ast.Expr)
    expression = compile(ast.Expression(last.value), "<test>", "eval", dont_inherit=True)
    if len(tree.body) == 1:
        return None, expression
    return compile(ast.Module(tree.body[:-1], []), "<test>", "exec", dont_inherit=True), expression


def plain_values(message: list[Any], count: int) -> list[Any] | None:
    """The `count` values in `["v", [...]]`; None where it is no such line."""
    if message[0] != "v" or len(message) != 2 or type(message[1]) is not list or len(message[1]) != count:
        return None
    try:
        return [decode(value) for value in message[1]]
    except (ValueError, TypeError, RecursionError):
        return None


def equal(expected: Any, got: Any, tolerance: float | None) -> bool:
    """Python's own ==, so that 1 equals 1.0 and True; but nan equals nan.

    With a tolerance, numbers may differ by that much, also those inside lists, tuples and dicts.
    """
    if _is_number(expected) and _is_number(got):
        if (
            isinstance(expected, float)
            and isinstance(got, float)
            and math.isnan(expected)
            and math.isnan(got)
        ):
            return True
        return bool(expected == got) or (tolerance is not None and _near(expected, got, tolerance))
    if type(expected) in (list, tuple) and type(expected) is type(got):
        return len(expected) == len(got) and all(
            equal(one, other, tolerance) for one, other in zip(expected, got, strict=True)
        )
    if type(expected) is dict and type(got) is dict:
        return expected.keys() == got.keys() and all(
            equal(expected[key], got[key], tolerance) for key in expected
        )
    return bool(expected == got)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | complex)


def _near(expected: Any, got: Any, tolerance: float) -> bool:
    try:
        return bool(abs(expected - got) <= tolerance)
    except OverflowError:  # an integer too long for a float
        return False

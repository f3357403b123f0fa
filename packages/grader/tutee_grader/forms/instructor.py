"""What the forms `falcon` and `unittest` share: an instructor's own test code, run in a judge's process."""

import ast
import marshal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from tutee_grader.forms.scoring import Mode, Test, ended
from tutee_grader.sandbox.inside.words import clean
from tutee_grader.sandbox.inside.zygote_messages import COMPARE
from tutee_grader.verdict import Outcome, TestResult

TESTS = "tests.py"
MAX_MESSAGE = 300


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

    Its bare asserts are rewritten to say what they compare.
    """
    tree = ast.fix_missing_locations(_Asserts().visit(ast.parse(source, TESTS)))
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


class _Asserts(ast.NodeTransformer):
    """`assert a == b` becomes one call that compares and, if need be, says both values."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        test = node.test
        if node.msg is not None or not isinstance(test, ast.Compare) or len(test.ops) != 1:
            if node.msg is None:
                node.msg = ast.Constant(f"{ast.unparse(test)} does not hold")
            return node
        text = ast.Constant(ast.unparse(test.left))
        operator = ast.Constant(type(test.ops[0]).__name__)
        call = ast.Call(ast.Name(COMPARE, ast.Load()), [text, operator, test.left, test.comparators[0]], [])
        return ast.copy_location(ast.Expr(call), node)


def read_results(
    answer: list[object] | None, tests: Sequence[Test]
) -> tuple[float | None, tuple[TestResult, ...]] | None:
    """The score, where the code gives one (0 to 100), and the results in `["done", score, [[name, outcome,
    message, exception, line], ...]]`; None where the answer is not such a list.
    """
    if answer is None or len(answer) != 3 or not isinstance(answer[2], list) or len(answer[2]) != len(tests):
        return None
    results = []
    for test, (name, word, message, exception, line) in zip(tests, answer[2], strict=True):
        outcome = Outcome(word)
        if name != test.name:
            return None
        if outcome == Outcome.PASSED:
            results.append(TestResult(test.name, outcome))
        elif not message:
            results.append(ended(test, outcome))
        else:
            text = clean(message, MAX_MESSAGE)
            about = text if text.startswith("your program ") else f"{test.name}: {text}"
            results.append(TestResult(test.name, outcome, about, exception=exception, line=line))
    return answer[1] if isinstance(answer[1], float) else None, tuple(results)

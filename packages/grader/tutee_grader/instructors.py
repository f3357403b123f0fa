"""Instructors' test files, made ready once for all programs."""

import ast
import marshal
import sys
from functools import lru_cache

from tutee_grader.inside.zygote_messages import COMPARE

TESTS = "tests.py"


@lru_cache(maxsize=64)
def compile_tests(source: str) -> bytes:
    """The file, which `Assignment.load` has found to be Python, as a marshalled code object.

    Its bare asserts are made to say what was compared.
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

"""Instructors' bare asserts, made to say what was compared; compiled once for all programs."""

import ast
import marshal
from functools import lru_cache

from tutee_grader.inside.zygote_messages import COMPARE

TESTS = "tests.py"


@lru_cache(maxsize=64)
def compile_tests(source: str) -> bytes:
    """The instructor's file, which `Assignment.load` has found to be Python, as a marshalled code object."""
    tree = ast.fix_missing_locations(_Asserts().visit(ast.parse(source, TESTS)))
    return marshal.dumps(compile(tree, TESTS, "exec", dont_inherit=True))


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

"""The classes of an instructor's test file: which are tests, and what they inherit from one another."""

import ast
from collections.abc import Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef
_CASES = ("TestCase", "IsolatedAsyncioTestCase")


class TestClasses:
    """`tested`: names of the classes that are run, which derive from unittest.TestCase. `without_test_case`:
    those that do not, have test methods all the same, and are no base of one that does.
    """

    __test__ = False  # pytest takes every class named Test* for one of its own

    def __init__(self, tree: ast.Module) -> None:
        self._unittest = set(_names_of_unittest(tree))
        self._classes = dict(_classes(tree.body))
        self._aliases = {
            target.id: ast.unparse(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        deleted = [
            ast.unparse(target)
            for node in tree.body
            if isinstance(node, ast.Delete)
            for target in node.targets
        ]
        present = [kind for kind in self._classes if "." not in kind and kind not in deleted]
        self.tested = [kind for kind in present if self._is_test_case(kind)]
        bases = {base for kind in self._classes if self._is_test_case(kind) for base in self._lineage(kind)}
        self.without_test_case = [kind for kind in present if kind not in bases and self.tests(kind)]

    def node(self, kind: str) -> ast.ClassDef:
        """The class's statement."""
        return self._classes[kind]

    def tests(self, kind: str) -> list[Function]:
        """The test methods of a class, its own and then those of its bases in the same file."""
        found: dict[str, ast.stmt] = {}
        for part in self._lineage(kind):
            if part in self._classes:
                own = dict(_bindings(self._classes[part]))
                found |= {name: node for name, node in own.items() if name not in found}
        return [
            node for name, node in found.items() if isinstance(node, Function) and name.startswith("test")
        ]

    def _lineage(self, kind: str) -> list[str]:
        """A class and all its bases, each as the file writes it, nearest first."""
        found = [kind]
        for part in found:  # which grows
            if part in self._classes:
                bases = map(ast.unparse, self._classes[part].bases)
                found += [base for base in map(self._resolved, bases) if base not in found]
        return found

    def _resolved(self, base: str) -> str:
        return base if base in self._classes else self._aliases.get(base, base)

    def _is_test_case(self, kind: str) -> bool:
        return not self._unittest.isdisjoint(self._lineage(kind))


def _names_of_unittest(tree: ast.Module) -> Iterator[str]:
    """The expressions that mean unittest.TestCase, or a class of unittest's that derives from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "unittest":
                    module = alias.asname or "unittest"
                    yield from (f"{module}.{part}{case}" for case in _CASES for part in ("", "case."))
        elif isinstance(node, ast.ImportFrom) and node.module in ("unittest", "unittest.case"):
            for alias in node.names:
                if alias.name in _CASES:
                    yield alias.asname or alias.name
                elif alias.name == "*":
                    yield from _CASES
                elif alias.name == "case":
                    yield from (f"{alias.asname or 'case'}.{case}" for case in _CASES)


def _classes(body: list[ast.stmt], outer: str = "") -> Iterator[tuple[str, ast.ClassDef]]:
    """The classes among these statements and inside them, by their qualified names."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield outer + node.name, node
            yield from _classes(node.body, f"{outer}{node.name}.")


def _bindings(node: ast.ClassDef) -> Iterator[tuple[str, ast.stmt]]:
    """The names that a class binds, with what binds each."""
    for part in node.body:
        if isinstance(part, Function):
            yield part.name, part
        elif isinstance(part, ast.Assign):
            yield from ((target.id, part) for target in part.targets if isinstance(target, ast.Name))

"""Reads programs, of students and of models; what changes from one to the next: lines, tokens, subtrees."""

import ast
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from tutee_evaluator.distance import edit_distance, indel_distance, tokens
from tutee_serializer.programs import parse

# What each kind of node of a syntax tree is made of; its context (load, store) follows from where it stands.
_FIELDS = {
    kind: tuple(name for name in kind._fields if name != "ctx")
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}


class Edit(NamedTuple):
    """The size of a change from one program to another.

    `lines`: how many are added or removed; `tokens`: how many are added, removed or replaced, as
    `distance.tokens` has them; `tree`: how many subtrees of the syntax tree one of the two has and the other
    lacks, of the one that has more of them, so that a change counts once on each level above it. `tree` is
    None where one of the two is not Python.
    """

    lines: int
    tokens: int
    tree: int | None


def edits(pairs: Iterable[tuple[str, str]]) -> list[Edit]:
    """The change of each pair of programs. Reads a program once, however many pairs it is in."""
    reader = _Reader()
    return [reader.edit(before, after) for before, after in pairs]


class _Reader:
    """Programs as tokens and as subtrees; equal subtrees have the same number, in all programs."""

    def __init__(self) -> None:
        self._tokens: dict[str, list[str]] = {}
        self._trees: dict[str, Counter[int] | None] = {}
        self._numbers: dict[tuple[Any, ...], int] = {}

    def edit(self, before: str, after: str) -> Edit:
        if before == after:
            return Edit(0, 0, 0 if self._tree(before) is not None else None)
        return Edit(
            indel_distance(before.splitlines(), after.splitlines()),
            edit_distance(self._read(before), self._read(after)),
            _missing(self._tree(before), self._tree(after)),
        )

    def _read(self, program: str) -> list[str]:
        if program not in self._tokens:
            self._tokens[program] = tokens(program)
        return self._tokens[program]

    def _tree(self, program: str) -> Counter[int] | None:
        if program not in self._trees:
            self._trees[program] = self._subtrees(program)
        return self._trees[program]

    def _subtrees(self, program: str) -> Counter[int] | None:
        """How often the program has each subtree, by number; None where it is not Python."""
        tree = parse(program)
        if tree is None:
            return None
        found: Counter[int] = Counter()
        try:
            self._number(tree, found)
        except (RecursionError, MemoryError):
            return None
        return found

    def _number(self, value: Any, found: Counter[int]) -> Any:
        """The number of a subtree, which is added to `found`; of a list, its elements'; or a plain value."""
        kind = type(value)
        if kind is list:
            return tuple([self._number(element, found) for element in value])
        if kind not in _FIELDS:
            return kind, value  # 1, 1.0 and True are equal
        parts = [self._number(getattr(value, name), found) for name in _FIELDS[kind]]
        number = self._numbers.setdefault((kind, *parts), len(self._numbers))
        found[number] = found.get(number, 0) + 1
        return number


def _missing(before: Counter[int] | None, after: Counter[int] | None) -> int | None:
    if before is None or after is None:
        return None
    return max((before - after).total(), (after - before).total())

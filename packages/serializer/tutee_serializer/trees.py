"""The shape of a program, apart from how its author spells and lays it out."""

import ast
import warnings
from typing import Any

# Fields that bind a name, besides Name and arg. Attributes, keywords and modules are not ours to rename.
_BINDS = {
    ast.FunctionDef: "name",
    ast.AsyncFunctionDef: "name",
    ast.ClassDef: "name",
    ast.ExceptHandler: "name",
    ast.Global: "names",
    ast.Nonlocal: "names",
    ast.MatchAs: "name",
    ast.MatchStar: "name",
    ast.MatchMapping: "rest",
    ast.alias: "asname",
}
# Fields that other fields imply, or that only say how a thing was spelled.
_SILENT = {"ctx", "kind", "type_comment", "type_ignores"}
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class _Name(str):
    """A name in a place where Python binds it."""

    __slots__ = ()


def normalise(code: str) -> str | None:
    """The program's syntax tree, written out in one line; None when it does not parse.

    Names that the program itself binds (variables, parameters, inner functions) are numbered in order
    of first appearance, so programs that differ only in layout, comments or such names are equal. What
    tests can call keeps its name: the functions and classes of the module, the members of classes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _write(ast.parse(code))
    # A NUL byte or a number too long to write is a ValueError; the last two are nesting too deep.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _write(tree: ast.Module) -> str:
    """A walk from the root down. Each kind of node has its number of fields and each list its length,
    so different trees are written differently."""
    out: list[str] = []
    names: list[int] = []  # places in `out` that hold a name which may be bound
    bound: set[str] = set()
    kept = _members(tree)
    stack: list[Any] = [tree]
    while stack:
        item = stack.pop()
        kind = item.__class__
        if kind is ast.Name:
            names.append(len(out))
            out.append(item.id)
            if item.ctx.__class__ is not ast.Load:
                bound.add(item.id)
        elif kind is ast.Constant:
            out.append(repr(item.value))
        elif kind is list:
            out.append(f"[{len(item)}]")
            stack.extend(reversed(item))
        elif kind is ast.arg:
            stack += (item.annotation, _Name(item.arg))
        elif kind is _Name:
            names.append(len(out))
            out.append(item)
            bound.add(item)
        elif isinstance(item, ast.AST):
            out.append(kind.__name__)
            if isinstance(item, ast.ClassDef):
                kept |= _members(item)
            binds = _BINDS.get(kind)
            for field in reversed(kind._fields):
                if field not in _SILENT:
                    value = getattr(item, field)
                    stack.append(_bind(value) if field == binds else value)
        else:
            out.append(str(item))
    numbers: dict[str, str] = {}
    for place in names:
        name = out[place]
        if name in bound and name not in kept:
            out[place] = numbers.setdefault(name, f"${len(numbers)}")
    return " ".join(out)


def _bind(value: Any) -> Any:
    if value is None:
        return None
    return [_Name(name) for name in value] if isinstance(value, list) else _Name(value)


def _members(scope: ast.Module | ast.ClassDef) -> set[str]:
    """What can be called from outside: a module's definitions, all that a class's body binds."""
    members = {node.name for node in scope.body if isinstance(node, _DEFINITIONS)}
    if isinstance(scope, ast.ClassDef):
        for node in scope.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            members |= {target.id for target in targets if isinstance(target, ast.Name)}
    return members

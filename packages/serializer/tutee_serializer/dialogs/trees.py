"""The shape of a program, apart from how its author spells and lays it out."""

import ast
import keyword
import re
from functools import lru_cache
from typing import Any

from tutee_serializer.dialogs.changes import common_ends
from tutee_serializer.programs import parse

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
    tree = parse(code)
    try:
        return None if tree is None else _write(tree)
    # A number too long to write is a ValueError; the others are nesting too deep.
    except (ValueError, RecursionError, MemoryError):
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
            out.append(f"={item.value!r}")  # a part left out is None, and a name may be Ellipsis
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


# What looks ahead in the patterns below says again how a match begins: other places are passed over faster.
# What a parser would not see: strings and comments. A string in group 1 or 2 is its own content; one that is
# not closed begins with group 3 or 4, and is one match as well: a search from each of its quotes would take
# time in proportion to its length squared.
_QUIET = re.compile(
    r'''(?=[rbuRBU"\'#])(?:(?<!\w)[rbuRBU]{1,2}(?="|')|"""(?:\\.|[^\\])*?"""|\'{3}(?:\\.|[^\\])*?\'{3}'''
    r"""|"(?!"")([^"\\\n]*)"|'(?!'')([^'\\\n]*)'"""
    r"""|"(?!"")(?:\\.|[^"\\\n])*"|'(?!'')(?:\\.|[^'\\\n])*'|\#[^\n]*"""
    r"""|(\"{3}|'{3}).*|(["'])(?:\\.|(?!\4)[^\\\n])*)""",
    re.DOTALL,
)
_NUMBER = (
    r"0[xX][0-9a-fA-F_]+|0[oObB][0-9_]+"
    r"|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9_]+)?[jJ]?"
)
_TOKEN = re.compile(rf"(?=[^\s(),:;])(?:{_NUMBER}|\.?\w+|[-+*/%<>=!&|^~@\[\]{{}}])")
# Where Python binds a name, no bracket opens behind it, unless it is a function's or a class's.
_BINDABLE = re.compile(r"\b(?:def|class)[\s\\]+(\w+)|\b([A-Za-z_]\w*)\b(?![ \t]*\()")
_ELIF = re.compile(r"\belif\b")  # the same tree as `else:` and an `if` inside
_LONG = re.compile(r"\"{3}|'{3}|\\")  # what lets a string or a statement span lines
_PLAIN = re.compile(r"0|[1-9][0-9]*")
_HUGE = re.compile(r"0[xXoObB]\w{500}")  # Python may parse it and then refuse to write it in decimal
# f-strings hold code; a blank after a dot may part an attribute; a starred argument has one place in the
# tree, before keywords or behind them; a carriage return ends a line alone or with a newline, which a
# backslash then takes away together; nothing parses with a NUL.
_HARD = re.compile(
    r"""(?=[.fFtTrR,\n\r\\\0])(?:\.[\s\\]|(?<!\w)(?:[fFtT][rR]?|[rR][fFtT])["']|[,\n][^\S\n]*\*"""
    r"""|\\\r|\r[^\n]|\0)"""
)
_cached = lru_cache(maxsize=10_000)(normalise)


def same_tree(a: str, b: str) -> bool:
    """Whether two programs normalise to the same tree; two that do not parse, whether they are equal.

    Most pairs of successive attempts differ in a token or two of one line, and can be told apart
    without parsing, some thirty times faster.
    """
    if a == b:
        return True
    start, ours, theirs = _changed_lines(a, b)
    if not (_is_hard(ours) or _is_hard(theirs) or any(map(_is_open, (a[:start], ours, theirs)))):
        if _surely_differ(a, b, ours, theirs):
            return False
        if not _LONG.search(ours + theirs) and _code_lines(ours) == _code_lines(theirs):
            return _parses(a)
    # What lacks something is the likelier not to parse, and then the tree of the other is not needed.
    short, long = sorted((a, b), key=len)
    tree = _cached(short)
    return tree is not None and tree == _cached(long)


def _parses(code: str) -> bool:
    if _HUGE.search(code):
        return normalise(code) is not None
    return parse(code) is not None


def _code_lines(code: str) -> list[str]:
    """The lines without comments, trailing blanks and empty lines; no string may span lines."""
    lines = [_QUIET.sub(_string_only, line) if "#" in line else line for line in code.split("\n")]
    return [line for line in (line.rstrip(" \t\f\r") for line in lines) if line]


def _string_only(match: re.Match[str]) -> str:
    return "" if match[0][0] == "#" else match[0]


def _surely_differ(a: str, b: str, ours: str, theirs: str) -> bool:
    """True only where the trees differ: equal trees have equal tokens but for brackets, separators,
    quoting, the spelling of numbers and a consistent renaming."""
    (tokens, strings), (other_tokens, other_strings) = _tokens(ours), _tokens(theirs)
    if len(tokens) != len(other_tokens):
        return True
    if strings is not None and other_strings is not None and strings != other_strings:
        return True
    renamed = set()
    for one, other in zip(tokens, other_tokens, strict=True):
        if one == other:
            continue
        if not (one.isidentifier() and other.isidentifier()):
            numbers = one.lstrip(".")[:1].isdigit() and other.lstrip(".")[:1].isdigit()
            if not numbers or (_PLAIN.fullmatch(one) and _PLAIN.fullmatch(other)):
                return True
        elif keyword.iskeyword(one) or keyword.iskeyword(other):
            return True
        else:
            renamed.add((one, other))
    if not renamed or _is_hard(a) or _is_hard(b) or "import" in a:
        return False
    if any(f"{one}(" in ours or f"{other}(" in theirs for one, other in renamed):
        before, after = zip(*renamed, strict=True)
        if not (_may_be_bound(a).issuperset(before) and _may_be_bound(b).issuperset(after)):
            return True
    return not _is_renaming(a, b)


def _is_hard(code: str) -> bool:
    if not code.isascii():  # other letters have several spellings
        return True
    marked = "." in code or "*" in code or "'" in code or '"' in code or "\r" in code or "\0" in code
    return marked and _HARD.search(code) is not None


def _is_open(code: str) -> bool:
    """Whether a string, or by a backslash a line, may go on behind these lines."""
    if "\\" not in code and '"""' not in code and "'''" not in code:
        return False
    return _is_hard(code) or any(mark in _QUIET.sub(r"\3\4", code) for mark in "\"'\\")


def _changed_lines(a: str, b: str) -> tuple[int, str, str]:
    """Where the lines begin that differ, and those lines of each program."""
    old, new = a.split("\n"), b.split("\n")
    start, end = common_ends(old, new)
    before = sum(map(len, old[:start])) + start
    return before, "\n".join(old[start : len(old) - end]), "\n".join(new[start : len(new) - end])


def _tokens(code: str) -> tuple[list[str], str | None]:
    """Tokens that a tree keeps in order, and the content of all strings (None: not plain to see)."""
    strings: str | None = ""
    if '"' in code or "'" in code or "#" in code:
        for match in _QUIET.finditer(code):
            if match[0][0] in "#rbuRBU":
                continue
            content = match[1] if match[1] is not None else match[2]
            strings = None if content is None or strings is None else strings + content
        code = _QUIET.sub(" ", code)
    if "elif" in code:
        code = _ELIF.sub("else if", code)
    return _TOKEN.findall(code), strings


def _may_be_bound(code: str) -> set[str]:
    """All names but those that are only called, which none of a program's own is."""
    return {name for names in _BINDABLE.findall(code) for name in names}


def _is_renaming(a: str, b: str) -> bool:
    """Whether the variables of `b` may be those of `a` under other names, one for one."""
    ours, theirs = _tokens(a)[0], _tokens(b)[0]
    if len(ours) != len(theirs):
        return False
    names = {
        (one, other)
        # Before an equals sign may stand the name of an argument, which is not renamed.
        for one, other, after in zip(ours, theirs, [*ours[1:], ""], strict=True)
        if after != "=" and one.isidentifier()
    }
    return len(names) == len({one for one, _ in names}) == len({other for _, other in names})

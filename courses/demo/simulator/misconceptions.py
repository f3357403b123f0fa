"""A library of what novices get wrong, as edits of a correct program.

A misconception looks at a program's lines and syntax tree and yields every place where it could be held,
each as a `Bug`: a range of lines and what stands there instead. Bugs of one program that touch different
lines can be held and repaired in any order.

The kinds say how a bug may show itself: syntax, name, crash, nothing (None comes back), bounds,
initial, case, value, output, endless.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Bug:
    """Lines `start` to `stop` (from 0, `stop` excluded) of a correct program, replaced by `lines`."""

    name: str
    kind: str
    start: int
    stop: int
    lines: tuple[str, ...]

    def touches(self, other: "Bug") -> bool:
        return self.start < other.stop and other.start < self.stop


@dataclass(frozen=True)
class Program:
    """A correct program, as one student writes it."""

    lines: tuple[str, ...]

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse("\n".join(self.lines))

    @cached_property
    def _nodes(self) -> list[Any]:
        """All nodes in the order of the text. What stands inside f-strings is left out: before
        Python 3.12 its positions are wrong."""
        found = []
        stack: list[Any] = [self.tree]
        while stack:
            node = stack.pop()
            found.append(node)
            if not isinstance(node, ast.JoinedStr):
                stack.extend(reversed(list(ast.iter_child_nodes(node))))
        return found

    def nodes(self, *types: type[ast.AST]) -> Iterator[Any]:
        """Nodes of these types, in the order of the text."""
        return (node for node in self._nodes if isinstance(node, types))

    @cached_property
    def progress(self) -> frozenset[int]:
        """Numbers of the lines that bring a while loop nearer to its end."""
        found = set()
        for loop in self.nodes(ast.While):
            tested = {node.id for node in ast.walk(loop.test) if isinstance(node, ast.Name)}
            for node in ast.walk(loop):
                if isinstance(node, ast.Name) and _is_stored(node) and node.id in tested:
                    found.add(node.lineno - 1)
        return frozenset(found)

    def text(self, node: Any) -> str:
        return self.lines[node.lineno - 1][node.col_offset : node.end_col_offset]

    def with_bugs(self, bugs: "list[Bug] | tuple[Bug, ...]") -> str:
        """The program's text with these bugs in it."""
        lines = list(self.lines)
        for bug in sorted(bugs, key=lambda bug: bug.start, reverse=True):
            lines[bug.start : bug.stop] = bug.lines
        return "\n".join(lines) + "\n"

    @cached_property
    def own_names(self) -> frozenset[str]:
        """Names the program itself gives: variables and parameters."""
        stored = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name) and _is_stored(node)}
        return frozenset(stored | {node.arg for node in ast.walk(self.tree) if isinstance(node, ast.arg)})

    def indent(self, number: int) -> str:
        line = self.lines[number]
        return line[: len(line) - len(line.lstrip())]


def _is_stored(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _counts_down(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Gt)


Edit = tuple[int, int, tuple[str, ...]]


@dataclass(frozen=True)
class Misconception:
    """One thing novices get wrong. `weight` is how common it is."""

    name: str
    kind: str
    weight: float
    edits: Callable[[Program], Iterator[Edit]]

    def bugs(self, program: Program) -> list[Bug]:
        """Every place of the program where it could be held; none twice.

        Wrong values are kept out of the lines that end a loop: endless loops have a kind of their own.
        """
        found = {
            Bug(self.name, self.kind, start, stop, lines): None
            for start, stop, lines in self.edits(program)
            if program.lines[start:stop] != lines and not (self.kind == "value" and start in program.progress)
        }
        return list(found)


LIBRARY: dict[str, Misconception] = {}


def misconception(kind: str, weight: float = 1.0) -> Callable[[Callable[[Program], Iterator[Edit]]], None]:
    """Adds a function to the library under its own name."""

    def add(edits: Callable[[Program], Iterator[Edit]]) -> None:
        name = edits.__name__.replace("_", " ")
        LIBRARY[name] = Misconception(name, kind, weight, edits)

    return add


def _line(number: int, line: str) -> Edit:
    return number, number + 1, (line,)


def _swap(program: Program, node: Any, new: str) -> Edit:
    """The line of a node with the node's text replaced."""
    number = node.lineno - 1
    line = program.lines[number]
    return _line(number, line[: node.col_offset] + new + line[node.end_col_offset :])


def _between(program: Program, left: Any, right: Any, old: str, new: str) -> Edit | None:
    """The line with the first `old` between two nodes replaced, where it stands there."""
    number = left.lineno - 1
    line = program.lines[number]
    start, stop = left.end_col_offset, right.col_offset
    if left.lineno != right.lineno or old not in line[start:stop]:
        return None
    return _line(number, line[:start] + line[start:stop].replace(old, new, 1) + line[stop:])


def _sub(program: Program, pattern: str, new: str) -> Iterator[Edit]:
    """Each line in which the pattern occurs, with its first occurrence replaced."""
    for number, line in enumerate(program.lines):
        changed = re.sub(pattern, new, line, count=1)
        if changed != line:
            yield _line(number, changed)


# Syntax: the program does not compile.


@misconception("syntax", 1.6)
def missing_colon(program: Program) -> Iterator[Edit]:
    return _sub(program, r":$", "")


@misconception("syntax", 0.8)
def missing_quote(program: Program) -> Iterator[Edit]:
    return _sub(program, r"""(["'])([^"']+)\1""", r"\1\2")


@misconception("syntax", 1.0)
def missing_bracket(program: Program) -> Iterator[Edit]:
    return _sub(program, r"^(\s*(?:print|\w+\s*=\s*int)\(.*)\)$", r"\1")


@misconception("syntax", 0.9)
def single_equals_sign(program: Program) -> Iterator[Edit]:
    return _sub(program, r"^(\s*(?:if|elif|while)\b.*?)==", r"\1=")


@misconception("syntax", 0.8)
def body_not_indented(program: Program) -> Iterator[Edit]:
    for number in range(1, len(program.lines)):
        before, here = program.indent(number - 1), program.indent(number)
        if program.lines[number - 1].endswith(":") and len(here) > len(before):
            yield _line(number, before + program.lines[number].lstrip())


@misconception("syntax", 0.6)
def else_if(program: Program) -> Iterator[Edit]:
    return _sub(program, r"^(\s*)elif\b", r"\1else if")


@misconception("syntax", 0.4)
def misspelt_keyword(program: Program) -> Iterator[Edit]:
    yield from _sub(program, r"^(\s*)return\b", r"\1retrun")
    yield from _sub(program, r"^(\s*)while\b", r"\1whlie")


# Names: something is not called what the program calls it.


@misconception("name", 1.6)
def misspelt_name(program: Program) -> Iterator[Edit]:
    for node in program.nodes(ast.Name):
        name = node.id
        if not _is_stored(node) and name in program.own_names and len(name) >= 4:
            yield _swap(program, node, name[:-2] + name[-1])


@misconception("name", 0.8)
def capital_letter(program: Program) -> Iterator[Edit]:
    for node in program.nodes(ast.Name):
        name = node.id
        if not _is_stored(node) and name in program.own_names | {"print", "input"}:
            yield _swap(program, node, name[0].upper() + name[1:])


@misconception("name", 0.7)
def small_true_or_false(program: Program) -> Iterator[Edit]:
    for node in program.nodes(ast.Constant):
        if isinstance(node.value, bool):
            yield _swap(program, node, program.text(node).lower())


@misconception("name", 1.0)
def never_initialised(program: Program) -> Iterator[Edit]:
    for node in program.nodes(ast.Assign):
        if isinstance(node.value, ast.Constant | ast.List | ast.Dict) and node.col_offset <= 4:
            yield node.lineno - 1, node.lineno, ()


# Crashes: an exception on the way.


@misconception("crash", 1.5)
def input_left_as_text(program: Program) -> Iterator[Edit]:
    yield from _sub(program, r"\bint\((input\(\))\)", r"\1")
    yield from _sub(program, r"\bint\((\w+)\)", r"\1")


@misconception("crash", 0.8)
def number_glued_to_text(program: Program) -> Iterator[Edit]:
    return _sub(program, r"\bstr\((\w+)\)", r"\1")


@misconception("crash", 0.7)
def length_from_another_language(program: Program) -> Iterator[Edit]:
    return _sub(program, r"\blen\((\w+)\)", r"\1.length")


@misconception("crash", 0.6)
def method_not_called(program: Program) -> Iterator[Edit]:
    return _sub(program, r"\.(lower|split)\(\)", r".\1")


# Return: nothing comes back.


@misconception("nothing", 1.6)
def missing_return(program: Program) -> Iterator[Edit]:
    for node in program.nodes(ast.Return):
        number = node.lineno - 1
        last = number == len(program.lines) - 1
        if last and len(program.indent(number)) <= 4 and not program.lines[number - 1].endswith(":"):
            yield number, number + 1, ()
        if isinstance(node.value, ast.Name | ast.BinOp):
            yield _line(number, program.indent(number) + program.text(node.value))


@misconception("nothing", 2.0)
def print_instead_of_return(program: Program) -> Iterator[Edit]:
    for node in program.nodes(ast.Return):
        number = node.lineno - 1
        yield _line(number, f"{program.indent(number)}print({program.text(node.value)})")


@misconception("bounds", 1.8)
def return_inside_the_loop(program: Program) -> Iterator[Edit]:
    for node in program.nodes(ast.Return):
        number = node.lineno - 1
        above = program.indent(number - 1)
        if len(above) > len(program.indent(number)):
            step = program.indent(number)
            yield _line(number, step + program.lines[number])


# Bounds: one too many, one too few.


@misconception("bounds", 1.4)
def stops_one_early(program: Program) -> Iterator[Edit]:
    yield from _sub(program, r"(range\(.*len\(\w+\))\)", r"\1 - 1)")
    yield from _sub(program, r"range\(1,( ?)6\)", r"range(1,\g<1>5)")


@misconception("bounds", 1.0)
def goes_one_too_far(program: Program) -> Iterator[Edit]:
    yield from _sub(program, r"(range\(.*len\(\w+\))\)", r"\1 + 1)")
    yield from _sub(program, r"range\(1,( ?)6\)", r"range(1,\g<1>7)")


@misconception("bounds", 1.2)
def starts_at_one(program: Program) -> Iterator[Edit]:
    yield from _sub(program, r"range\((?:0, ?)?(len\(\w+\))\)", r"range(1, \1)")


@misconception("bounds", 1.8)
def wrong_border(program: Program) -> Iterator[Edit]:
    others = {ast.GtE: (">=", ">"), ast.Gt: (">", ">="), ast.LtE: ("<=", "<"), ast.Lt: ("<", "<=")}
    endless = {id(loop.test) for loop in program.nodes(ast.While) if _counts_down(loop.test)}
    for node in program.nodes(ast.Compare):
        if type(node.ops[0]) in others and id(node) not in endless:
            old, new = others[type(node.ops[0])]
            edit = _between(program, node.left, node.comparators[0], old, new)
            if edit:
                yield edit


# Initial values.


@misconception("initial", 1.4)
def wrong_initial_value(program: Program) -> Iterator[Edit]:
    for node in program.nodes(ast.Assign):
        value = node.value
        if isinstance(value, ast.Constant) and type(value.value) is int and value.value in (0, 1):
            yield _swap(program, value, str(1 - value.value))
        elif isinstance(value, ast.Constant) and value.value == "":
            yield _swap(program, value, program.text(value)[0] + " " + program.text(value)[0])


@misconception("initial", 1.5)
def starts_afresh_in_the_loop(program: Program) -> Iterator[Edit]:
    for number in range(len(program.lines) - 2):
        line, loop = program.lines[number : number + 2]
        initial = re.match(r"\s*\w+ ?= ?(0|\[\]|\{\}|\"\"|'')$", line)
        if initial and re.match(r"\s*for\b", loop) and program.indent(number) == program.indent(number + 1):
            yield number, number + 2, (loop, program.indent(number + 2) + line.lstrip())


# Cases: something was not thought of.


@misconception("case", 1.2)
def forgotten_case(program: Program) -> Iterator[Edit]:
    for number, line in enumerate(program.lines[:-1]):
        if re.match(r"\s*elif\b", line):
            yield number, number + 2, ()


@misconception("case", 0.8)
def always_true(program: Program) -> Iterator[Edit]:
    for node in program.nodes(ast.If):
        number = node.lineno - 1
        body = node.body
        if not node.orelse and len(body) == 1 and body[0].lineno == number + 2:
            yield number, number + 2, (program.indent(number) + program.lines[number + 1].lstrip(),)


@misconception("case", 0.7)
def if_instead_of_elif(program: Program) -> Iterator[Edit]:
    return _sub(program, r"^(\s*)elif\b", r"\1if")


# Values: a wrong operator, a wrong variable.


@misconception("value", 1.4)
def overwrites_instead_of_adding(program: Program) -> Iterator[Edit]:
    yield from _sub(program, r"^(\s*\w+) ?\+= ?", r"\1 = ")
    yield from _sub(program, r"^(\s*)(\w+) ?= ?\2 ?\+ ?", r"\1\2 = ")


@misconception("value", 1.0)
def wrong_operator(program: Program) -> Iterator[Edit]:
    others = {
        ast.Add: ("+", "-"),
        ast.Mult: ("*", "+"),
        ast.FloorDiv: ("//", "/"),
        ast.Div: ("/", "//"),
        ast.Mod: ("%", "//"),
    }
    for node in program.nodes(ast.BinOp):
        if type(node.op) in others:
            old, new = others[type(node.op)]
            edit = _between(program, node.left, node.right, old, new)
            if edit:
                yield edit


@misconception("value", 0.9)
def and_for_or(program: Program) -> Iterator[Edit]:
    yield from _sub(program, r"\bor\b", "and")
    yield from _sub(program, r"\band\b", "or")


@misconception("value", 1.0)
def condition_reversed(program: Program) -> Iterator[Edit]:
    yield from _sub(program, r"^(\s*(?:if|elif)\b.*?)==", r"\1!=")
    yield from _sub(program, r"^(\s*(?:if|elif)\b.*?)!=", r"\1==")
    yield from _sub(program, r"\bnot ", "")


@misconception("value", 1.3)
def wrong_variable(program: Program) -> Iterator[Edit]:
    """Of two variables of a loop's header, the other one."""
    for loop in program.nodes(ast.For):
        if not isinstance(loop.target, ast.Name):
            continue
        item = loop.target.id
        whole = {node.id for node in ast.walk(loop.iter) if isinstance(node, ast.Name)} & program.own_names
        for number in range(loop.lineno, loop.end_lineno):
            for other in sorted(whole):
                line = re.sub(rf"\b{item}\b(?!\()", other, program.lines[number], count=1)
                yield _line(number, line)


@misconception("value", 1.2)
def index_for_item(program: Program) -> Iterator[Edit]:
    """The position where the thing at that position was meant."""
    return _sub(program, r"\b[a-zA-Z_]\w*\[([a-zA-Z_]\w*)\]", r"\1")


@misconception("value", 1.0)
def returns_the_wrong_variable(program: Program) -> Iterator[Edit]:
    for function in program.nodes(ast.FunctionDef):
        parameter = function.args.args[0].arg
        for node in ast.walk(function):
            if not isinstance(node, ast.Return) or not isinstance(node.value, ast.Name):
                continue
            if node.value.id != parameter:
                yield _swap(program, node.value, parameter)


@misconception("value", 0.8)
def result_thrown_away(program: Program) -> Iterator[Edit]:
    return _sub(program, r"^(\s*)(\w+) ?= ?(\2\.\w+\(.*\))$", r"\1\3")


# Output: right in substance, not what was asked for.


@misconception("output", 1.6)
def prompt_printed(program: Program) -> Iterator[Edit]:
    return _sub(program, r"\binput\(\)", 'input("Enter a value: ")')


@misconception("output", 0.8)
def prints_on_the_way(program: Program) -> Iterator[Edit]:
    """Only where the output is what is graded."""
    if any(line.lstrip().startswith("return") for line in program.lines):
        return
    for number, line in enumerate(program.lines):
        assigned = re.match(r"(\s*)(\w+) ?= ?int\(", line)
        if assigned:
            yield number, number + 1, (line, f"{assigned[1]}print({assigned[2]})")


# Endless loops. Rare: each costs the grader its whole time limit.


@misconception("endless", 0.12)
def never_moves_on(program: Program) -> Iterator[Edit]:
    for loop in program.nodes(ast.While):
        for node in loop.body:
            number = node.lineno - 1
            if number == loop.end_lineno - 1 and isinstance(node, ast.Assign | ast.AugAssign):
                yield number, number + 1, ()

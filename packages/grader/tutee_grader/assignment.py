"""An assignment: its task, its tests and its limits, loaded from a folder."""

import ast
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tutee_grader.clauses import Clause, ClauseError, read_clauses
from tutee_grader.errors import AssignmentError

FORMS = ("calls", "asserts", "stdio", "falcon", "unittest")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    `seconds`: one test may take this long, and the program as a whole twice as long. `memory_mb`: address
    space on top of the interpreter's own. `output_kb`: what it may print, per test.
    """

    seconds: float = 1.0
    memory_mb: int = 256
    output_kb: int = 256


@dataclass(frozen=True, slots=True)
class CallTest:
    """A call, and the value it must return. The call may be several statements; the last is the value."""

    name: str
    call: str
    returns: Any
    tolerance: float | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ClauseTest:
    """One clause of an assert statement."""

    name: str
    clause: Clause
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ScriptTest:
    """An input, and what the program must print for it."""

    name: str
    stdin: str
    stdout: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class FileTest:
    """One test of an instructor's own test file."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Leniency:
    """What a stdin/stdout test overlooks."""

    trailing_blanks: str = "ignore"  # or "exact"
    case: str = "exact"  # or "ignore"
    tolerance: float = 0.0  # numbers in the text may differ by this much
    contains: bool = False  # the expected lines need only occur in the output
    hide_prompts: bool = False  # what `input` is given to print does not count as output


Test = CallTest | ClauseTest | ScriptTest | FileTest


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task and how programs for it are graded.

    `fingerprint` changes with everything that can change a verdict.
    """

    name: str
    task: str
    form: str
    tests: tuple[Test, ...]
    solution: str | None = None
    limits: Limits = Limits()
    leniency: Leniency = Leniency()
    test_source: str | None = None  # of the instructor's own test code
    max_score: float = 100.0  # what a FalconCode test case returns at best
    fingerprint: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        parts = (self.form, self.tests, self.limits, self.leniency, self.test_source, self.max_score)
        object.__setattr__(self, "fingerprint", hashlib.sha256(repr(parts).encode()).hexdigest())

    # Expected values may be dicts or lists, which have no hash of their own.
    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @staticmethod
    def load(folder: Path | str, tests: str | None = None) -> "Assignment":
        """Read an assignment's folder.

        `tests` names the form where the folder itself does not say (`asserts`: the file `test.py`).
        Raises AssignmentError naming the file and the line.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise AssignmentError(f"{folder}: there is no such folder of an assignment")
        task = _read_first(folder, ("task.md", "description.txt")) or ""
        solution = _read_first(folder, ("solution.py",))
        described = folder / "tests.yaml"
        common = {"name": folder.name, "task": task.strip(), "solution": solution}
        if described.exists():
            return _from_yaml(described, common)
        form = tests or "asserts"
        if form not in _FROM_FILE:
            raise AssignmentError(f"{described}: missing; it is needed for tests of the form {form!r}")
        return _FROM_FILE[form](folder / "test.py", common)


def _read_first(folder: Path, names: tuple[str, ...]) -> str | None:
    for name in names:
        if (folder / name).exists():
            return _read(folder / name)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise AssignmentError(f"{path}: missing") from None
    except UnicodeDecodeError as error:
        raise AssignmentError(f"{path}: not UTF-8 text (byte {error.start})") from None


def _from_asserts(path: Path, common: dict[str, Any]) -> Assignment:
    try:
        clauses = read_clauses(_read(path))
    except ClauseError as error:
        raise AssignmentError(f"{path}, line {error.line}: {error}") from None
    tests = tuple(ClauseTest(clause.text, clause) for clause in clauses)
    return Assignment(form="asserts", tests=tests, **common)


def _from_falcon(path: Path, common: dict[str, Any]) -> Assignment:
    source = _read(path)
    tree = _parse(path, source)
    if not any(isinstance(node, ast.FunctionDef) and node.name == "test_passed" for node in tree.body):
        raise AssignmentError(f"{path}, line 1: a FalconCode test case must define test_passed()")
    return Assignment(form="falcon", tests=(FileTest("test_passed"),), test_source=source, **common)


def _from_unittest(path: Path, common: dict[str, Any]) -> Assignment:
    source = _read(path)
    tests = []
    for node in _parse(path, source).body:
        if isinstance(node, ast.ClassDef):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            tests += [FileTest(f"{node.name}.{m.name}") for m in methods if m.name.startswith("test")]
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            if node.args.args and "parametrize" not in "".join(map(ast.unparse, node.decorator_list)):
                names = ", ".join(argument.arg for argument in node.args.args)
                raise AssignmentError(f"{path}, line {node.lineno}: fixtures are not supported: {names}")
            tests.append(FileTest(node.name))
    if not tests:
        raise AssignmentError(f"{path}, line 1: no test; name methods or functions test_...")
    return Assignment(form="unittest", tests=tuple(tests), test_source=source, **common)


def _parse(path: Path, source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise AssignmentError(f"{path}, line {error.lineno or 1}: not Python: {error.msg}") from None
    except ValueError as error:
        raise AssignmentError(f"{path}, line 1: not Python: {error}") from None


_FROM_FILE: dict[str, Callable[[Path, dict[str, Any]], Assignment]] = {
    "asserts": _from_asserts,
    "falcon": _from_falcon,
    "unittest": _from_unittest,
}


def _from_yaml(path: Path, common: dict[str, Any]) -> Assignment:
    text = _read(path)
    try:
        data = yaml.safe_load(text)
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise AssignmentError(f"{path}, line {line}: {error.problem}") from None
    reader = _Reader(path, node)
    if not isinstance(data, dict):
        raise reader.error("the file must be a mapping with `form` and `tests`")
    reader.check_keys(data, {"form", "limits", "options", "tests"})
    form = data.get("form")
    if form not in FORMS:
        raise reader.error(f"form has value {form!r}. It must be one of {', '.join(FORMS)}", "form")
    limits = reader.dataclass(Limits, data.get("limits") or {}, "limits")
    if form in _FROM_FILE:
        if form == "falcon":
            options = data.get("options") or {}
            reader.check_keys(options, {"max_score"}, "options")
            common["max_score"] = reader.number(options, "max_score", 100.0, "options") or 100.0
        return _FROM_FILE[form](path.parent / "test.py", common | {"limits": limits})
    rows = data.get("tests")
    if not isinstance(rows, list) or not rows:
        raise reader.error("tests must be a list of at least one test", "tests")
    read: Callable[[_Reader, Any, int], Test] = _call_test if form == "calls" else _script_test
    tests = tuple(read(reader, row, index) for index, row in enumerate(rows))
    leniency = reader.dataclass(Leniency, data.get("options") or {}, "options")
    return Assignment(form=form, tests=tests, limits=limits, leniency=leniency, **common)


def _call_test(reader: "_Reader", row: Any, index: int) -> CallTest:
    reader.check_keys(row, {"call", "returns", "tolerance", "weight", "name"}, index)
    call = row.get("call")
    if not isinstance(call, str):
        raise reader.error(f"call has value {call!r}. It must be a Python expression, as text", index)
    try:
        parsed = ast.parse(call)
    except (SyntaxError, ValueError) as error:
        raise reader.error(f"call {call!r} is not Python: {error}", index) from None
    if not parsed.body or not isinstance(parsed.body[-1], ast.Expr):
        raise reader.error(f"call {call!r} must end with an expression", index)
    if "returns" not in row:
        raise reader.error("returns is missing", index)
    try:
        returns = read_literal(str(row["returns"]))
    except ValueError:
        raise reader.error(
            f"returns has value {row['returns']!r}. It must be a Python literal", index
        ) from None
    tolerance = reader.number(row, "tolerance", None, index)
    name = str(row.get("name") or call)
    return CallTest(name, call, returns, tolerance, reader.number(row, "weight", 1.0, index) or 0.0)


def read_literal(text: str) -> Any:
    """A Python literal, and `nan` and `inf`, which have none. Raises ValueError."""
    if text.strip() in ("nan", "inf", "-inf"):
        return float(text)
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _script_test(reader: "_Reader", row: Any, index: int) -> ScriptTest:
    reader.check_keys(row, {"stdin", "stdout", "weight", "name"}, index)
    stdin, stdout = row.get("stdin", ""), row.get("stdout")
    if not isinstance(stdin, str) or not isinstance(stdout, str):
        raise reader.error("stdin and stdout must both be text (put numbers in quotes)", index)
    shown = " ".join(stdin.split())
    name = str(row.get("name") or (f"input {shown!r}" if shown else "no input"))
    return ScriptTest(name, stdin, stdout, reader.number(row, "weight", 1.0, index) or 0.0)


class _Reader:
    """Checks what the YAML file says, and knows on which line it says it."""

    def __init__(self, path: Path, node: yaml.Node | None) -> None:
        self.path = path
        self._lines: dict[Any, int] = {}
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self._lines[key.value] = key.start_mark.line + 1
                if key.value == "tests" and isinstance(value, yaml.SequenceNode):
                    for index, item in enumerate(value.value):
                        self._lines[index] = item.start_mark.line + 1

    def error(self, message: str, where: Any = None) -> AssignmentError:
        return AssignmentError(f"{self.path}, line {self._lines.get(where, 1)}: {message}")

    def check_keys(self, row: Any, known: set[str], where: Any = None) -> None:
        if not isinstance(row, Mapping):
            raise self.error(f"{row!r} must be a mapping with keys {', '.join(sorted(known))}", where)
        unknown = [str(key) for key in row if key not in known]
        if unknown:
            names = ", ".join(sorted(known))
            raise self.error(f"unknown key {', '.join(unknown)}; known are {names}", where)

    def number(self, row: Mapping[str, Any], key: str, default: float | None, where: Any) -> float | None:
        value = row.get(key, default)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise self.error(f"{key} has value {value!r}. It must be a number of at least 0", where)
        return float(value)

    def dataclass(self, kind: type, values: Any, where: str) -> Any:
        known = {name: spec.type for name, spec in kind.__dataclass_fields__.items()}  # type: ignore[attr-defined]
        self.check_keys(values, set(known), where)
        for key, value in values.items():
            wanted = known[key]
            numeric = (
                wanted in (int, float) and isinstance(value, int | float) and not isinstance(value, bool)
            )
            if not (isinstance(value, wanted) or numeric):
                raise self.error(f"{key} has value {value!r}. It must be of type {wanted.__name__}", where)
            if numeric and (value < 0 or (value == 0 and kind is Limits)):
                raise self.error(f"{key} has value {value!r}. It must be above 0", where)
        return kind(**values)

"""Reading the files of an assignment's folder; errors name the file and the line."""

import ast
import math
import symtable
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from tutee_grader.errors import AssignmentError


def read_text(path: Path) -> str:
    """A text file's content. Raises AssignmentError where it is missing or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise AssignmentError(f"{path}: missing") from None
    except UnicodeDecodeError as error:
        raise AssignmentError(f"{path}: not UTF-8 text (byte {error.start})") from None


def parse_python(path: Path, source: str) -> ast.Module:
    """The syntax tree of a file. Raises AssignmentError where it is not Python."""
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise AssignmentError(f"{path}, line {error.lineno or 1}: not Python: {error.msg}") from None
    except ValueError as error:
        raise AssignmentError(f"{path}, line 1: not Python: {error}") from None


def global_names(source: str) -> set[str]:
    """The names that a file, which has been parsed before, binds among its globals."""
    return _bound(symtable.symtable(source, "file.py", "exec"))


def _bound(table: symtable.SymbolTable) -> set[str]:
    is_module = table.get_type() == "module"
    bound = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if (symbol.is_assigned() or symbol.is_imported()) and (is_module or symbol.is_declared_global())
    }
    return bound.union(*map(_bound, table.get_children()))


class TestsYaml:
    """The file tests.yaml of an assignment; its values are checked as they are read.

    `form` is the form of the tests: the file's own or, where there is no file, `default_form`.
    """

    __test__ = False  # pytest takes every class named Test* for one of its own

    def __init__(self, path: Path, forms: Collection[str], default_form: str) -> None:
        self.path = path
        self.data: dict[str, Any] = {}
        self._lines: dict[Any, int] = {}
        self.exists = path.exists()
        self.form = default_form
        if self.exists:
            self._load()
            self.form = self.data.get("form", "")
            if self.form not in list(forms):
                known = ", ".join(forms)
                raise self.error(
                    f"form has value {self.data.get('form')!r}. It must be one of {known}", "form"
                )
        elif default_form not in forms:
            raise self.missing()

    def _load(self) -> None:
        text = read_text(self.path)
        try:
            data = yaml.safe_load(text)
            node = yaml.compose(text, yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise AssignmentError(f"{self.path}, line {line}: {error.problem}") from None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self._lines[key.value] = key.start_mark.line + 1
                if key.value == "tests" and isinstance(value, yaml.SequenceNode):
                    for index, item in enumerate(value.value):
                        self._lines[index] = item.start_mark.line + 1
        if not isinstance(data, dict):
            raise self.error("the file must be a mapping with `form` and `tests`")
        self.check_keys(data, {"form", "limits", "options", "tests"})
        self.data = data

    @property
    def test_file(self) -> Path:
        """The Python file of tests beside this one."""
        return self.path.parent / "test.py"

    def rows(self) -> list[Any]:
        """The entries of `tests`. Raises AssignmentError where there are none."""
        if not self.exists:
            raise self.missing()
        rows = self.data.get("tests")
        if not isinstance(rows, list) or not rows:
            raise self.error("tests must be a list of at least one test", "tests")
        return rows

    def section(self, key: str, kind: type, may_be_zero: bool = True) -> Any:
        """An instance of the dataclass `kind` from the mapping under `key`."""
        values = self.data.get(key) or {}
        known = {name: spec.type for name, spec in kind.__dataclass_fields__.items()}  # type: ignore[attr-defined]
        self.check_keys(values, set(known), key)
        for name, value in values.items():
            wanted = known[name]
            if type(value) is not wanted and not (wanted is float and type(value) is int):
                raise self.error(f"{name} has value {value!r}. It must be of type {wanted.__name__}", key)
            if wanted in (int, float) and not (0 < value < math.inf or (value == 0 and may_be_zero)):
                raise self.error(f"{name} has value {value!r}. It must be above 0", key)
        return kind(**values)

    def number(self, row: Mapping[str, Any], key: str, default: float | None, where: Any) -> float | None:
        """A number of at least 0 under `key`, or `default`."""
        value = row.get(key, default)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise self.error(f"{key} has value {value!r}. It must be a number of at least 0", where)
        return float(value)

    def check_keys(self, row: Any, known: set[str], where: Any = None) -> None:
        """Raises AssignmentError where `row` is not a mapping or has a key that is not in `known`."""
        if not isinstance(row, Mapping):
            raise self.error(f"{row!r} must be a mapping with keys {', '.join(sorted(known))}", where)
        unknown = [str(key) for key in row if key not in known]
        if unknown:
            names = ", ".join(sorted(known))
            raise self.error(f"unknown key {', '.join(unknown)}; known are {names}", where)

    def error(self, message: str, where: Any = None) -> AssignmentError:
        """An error at a key of the file or at the row of this index."""
        return AssignmentError(f"{self.path}, line {self._lines.get(where, 1)}: {message}")

    def missing(self) -> AssignmentError:
        """The error for a form that needs this file where there is none."""
        return AssignmentError(f"{self.path}: missing; it is needed for tests of the form {self.form!r}")

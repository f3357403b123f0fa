"""Running an instructor's test code: a FalconCode test case, or a unittest or pytest-style file."""

import contextlib
import io
import sys
import types
import unittest
from typing import Any

from channel import ProgramEndedError
from values import quote
from zygote_messages import COMPARE

MAX_PRINTED = 2000


class LimitedText(io.StringIO):
    """The first MAX_PRINTED characters that the tests print."""

    def write(self, text: str) -> int:
        if self.tell() < MAX_PRINTED:
            super().write(text)
        return len(text)


def run_falcon(
    code: types.CodeType, names: list[str], max_score: float, asker: Any
) -> tuple[float | None, list[list[Any]]]:
    """The grade (0 to 100) by `test_passed()`, and its one test."""
    _provide_autograder(asker)
    printed = LimitedText()
    try:
        with contextlib.redirect_stdout(printed):
            namespace = _execute(code)
            score = namespace["test_passed"]()
    except BaseException as error:
        return 0.0, [[names[0], *_failure(error)]]
    if isinstance(score, bool):
        score = max_score if score else 0.0
    share = 100.0 * float(score or 0.0) / max_score
    share = min(100.0, max(0.0, share))
    outcome = "passed" if share == 100.0 else "failed"
    return share, [
        [names[0], outcome, "" if outcome == "passed" else _scored(score, max_score, printed), None, None]
    ]


def _scored(score: Any, max_score: float, printed: io.StringIO) -> str:
    words = " ".join(printed.getvalue().split())
    return f"your program scored {float(score or 0):g} of {max_score:g}" + (f": {words}" if words else "")


def _provide_autograder(asker: Any) -> None:
    """The module `cs110.autograder`; every file name that its functions take means the program."""
    package, module = types.ModuleType("cs110"), types.ModuleType("cs110.autograder")

    def run_script(filename: str = "", inputs: Any = (), *_: Any, **__: Any) -> tuple[str, str]:
        lines = [inputs] if isinstance(inputs, str) else inputs
        stdin = "".join(f"{line}\n" for line in lines)
        try:
            stdout, error = asker.ask('["script",' + quote(stdin) + "]")
        except ProgramEndedError as ended:
            return "", str(ended)
        return stdout, "" if error is None else "{}: {} (line {})".format(*error[:3])

    def equals(value: Any, expected: Any, delta: float = 0.01) -> bool:
        try:
            return abs(float(value) - float(expected)) <= delta
        except (TypeError, ValueError, OverflowError):
            return bool(value == expected)

    def compare_strings(student_lines: Any, expected_lines: Any, *_: Any, **__: Any) -> int:
        found = student_lines.splitlines() if isinstance(student_lines, str) else list(student_lines)
        wanted = expected_lines.splitlines() if isinstance(expected_lines, str) else list(expected_lines)
        right = 0
        for number, want in enumerate(wanted, 1):
            got = found[number - 1] if number <= len(found) else ""
            same = str(got).strip() == str(want).strip()
            right += same
            print(
                f"Line {number}: CORRECT"
                if same
                else f"Line {number}: INCORRECT (expected {want!r}, got {got!r})"
            )
        return right

    def code_compiles(filename: str = "", *_: Any) -> bool:
        try:
            asker.ask('["compiles"]')
        except ProgramEndedError as ended:
            return str(ended) != "does not compile"
        return True

    for function in (run_script, equals, compare_strings, code_compiles):
        setattr(module, function.__name__, function)
    package.autograder = module  # type: ignore[attr-defined]
    sys.modules["cs110"], sys.modules["cs110.autograder"] = package, module


def run_tests(code: types.CodeType, names: list[str]) -> tuple[None, list[list[Any]]]:
    """One result for each of `names`: `TestCase.test_method`, or `test_function`."""
    printed = LimitedText()
    try:
        with contextlib.redirect_stdout(printed):
            namespace = _execute(code)
    except BaseException as error:
        first, *rest = names
        return None, [[first, *_failure(error)], *([name, "not run", "", None, None] for name in rest)]
    results: dict[str, list[Any]] = {}
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        for kind in dict.fromkeys(name.split(".")[0] for name in names if "." in name):
            recorder = _Recorder()
            methods = sorted(name.split(".")[1] for name in names if name.startswith(f"{kind}."))
            suite = unittest.TestSuite(namespace[kind](method) for method in methods)
            suite.run(recorder)
            for name, result in recorder.found.items():
                results[f"{kind}.{name}"] = result
            if recorder.whole is not None:  # setUpClass failed
                results |= {name: recorder.whole for name in names if name.startswith(f"{kind}.")}
        for name in names:
            if "." not in name:
                results[name] = _run_function(namespace[name])
    missing = ["error", "the test did not come to an end", None, None]
    return None, [[name, *results.get(name, missing)] for name in names]


class _Recorder(unittest.TestResult):
    """The outcome of each method, in the grader's words."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[Any]] = {}
        self.whole: list[Any] | None = None

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        self.found.setdefault(_method(test), ["passed", "", None, None])

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        failure = _failure(err[1])
        if isinstance(test, unittest.TestCase):
            self.found[_method(test)] = failure
        else:
            self.whole = failure

    addFailure = addError  # noqa: N815

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self.found.setdefault(_method(test), _failure(err[1]))

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        self.found[_method(test)] = ["not run", f"skipped: {reason}", None, None]

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        self.found[_method(test)] = ["failed", "the test was expected to fail", None, None]


def _method(test: unittest.TestCase) -> str:
    return test._testMethodName


def _run_function(function: Any) -> list[Any]:
    """A pytest-style function, once for each set of parameters."""
    cases = getattr(function, "cases", [{}])
    for case in cases:
        try:
            function(**case)
        except BaseException as error:
            return _failure(error)
    return ["passed", "", None, None]


def _failure(error: BaseException) -> list[Any]:
    """Outcome, message, exception and line of the student's program."""
    student = getattr(error, "student", None)
    if student is not None:
        name, message, line = student
        where = f" on line {line}" if line else ""
        outcome = "out of memory" if name == "MemoryError" else "error"
        return [outcome, f"stopped with {name}{where}" + (f": {message}" if message else ""), name, line]
    words = " ".join(str(error).split())
    if isinstance(error, ProgramEndedError):
        return [words if words in ("timeout", "out of memory", "output limit") else "error", "", None, None]
    if isinstance(error, AssertionError):
        return ["failed", words, None, None]
    return ["error", f"{type(error).__name__}: {words}", type(error).__name__, None]


def _execute(code: types.CodeType) -> dict[str, Any]:
    """Run the instructor's file as a module."""
    module = types.ModuleType("tests")
    sys.modules["tests"] = module
    module.__dict__[COMPARE] = _compare
    exec(code, module.__dict__)
    return module.__dict__


_COMPARISONS: dict[str, tuple[str, Any]] = {
    "Eq": ("", lambda a, b: a == b),
    "NotEq": ("anything but ", lambda a, b: a != b),
    "Lt": ("less than ", lambda a, b: a < b),
    "LtE": ("at most ", lambda a, b: a <= b),
    "Gt": ("more than ", lambda a, b: a > b),
    "GtE": ("at least ", lambda a, b: a >= b),
    "In": ("one of ", lambda a, b: a in b),
    "NotIn": ("none of ", lambda a, b: a not in b),
    "Is": ("", lambda a, b: a is b),
    "IsNot": ("anything but ", lambda a, b: a is not b),
}


def _compare(text: str, operator: str, got: Any, expected: Any) -> None:
    words, holds = _COMPARISONS[operator]
    if not holds(got, expected):
        raise AssertionError(f"{text} is {got!r}, expected {words}{expected!r}")

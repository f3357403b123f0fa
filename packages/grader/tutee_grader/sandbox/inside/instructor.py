"""Running an instructor's test code: a FalconCode test case, or a unittest or pytest-style file.

The result of a test is `[name, outcome, message, exception, line, share]`, in the grader's words; `share` is
the grade (0 to 100) where the test itself gives one.
"""

import contextlib
import io
import signal
import sys
import time
import types
import unittest
from collections.abc import Callable
from typing import Any

from channel import ProgramEndedError
from messages import Standard
from raising import Waiting
from remote import UnsupportedError, shown
from values import quote
from words import clean, name, quoted
from zygote_messages import COMPARE

MAX_PRINTED = 2000
MAX_MESSAGE = 400

Result = list[Any]


class LimitedText(io.StringIO):
    """The first MAX_PRINTED characters that the tests print."""

    def write(self, text: str) -> int:
        if self.tell() < MAX_PRINTED:
            super().write(text[:MAX_PRINTED])
        return len(text)


class TestTooLongError(BaseException):
    """A test works for too long by itself."""

    __test__ = False


class TestClock:
    """Ends a test that works for too long: each may use half of the CPU time that is left to the judge."""

    __test__ = False

    def __init__(self, cpu_s: float) -> None:
        self._cpu_s = cpu_s
        self.is_over = False
        signal.signal(signal.SIGPROF, self._ring)

    def start(self) -> None:
        """A test begins."""
        self.is_over = False
        left_s = max(0.05, (self._cpu_s - time.process_time()) / 2)
        # Again and again, as the test may catch it.
        signal.setitimer(signal.ITIMER_PROF, left_s, 0.1)

    def stop(self) -> None:
        """It has ended, or is being wound up."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _ring(self, *_: object) -> None:
        self.is_over = True
        raise TestTooLongError


def run_falcon(code: types.CodeType, test: str, max_score: float, asker: Any) -> Result:
    """The result of the one test, `test_passed()`."""
    _provide_autograder(asker)
    printed = LimitedText()
    try:
        with contextlib.redirect_stdout(printed):
            namespace = _execute(code)
            score = namespace["test_passed"]()
        score = max_score * score if isinstance(score, bool) else float(score or 0.0)
    except BaseException as error:
        return [test, *_failure(error), None]
    share = min(100.0, max(0.0, 100.0 * score / max_score))
    if share == 100.0:
        return [test, "passed", "", None, None, share]
    words = quoted(printed.getvalue(), MAX_MESSAGE // 2)
    message = f"your program scored {score:g} of {max_score:g}" + (f": {words}" if words else "")
    return [test, "failed", message, None, None, share]


def _provide_autograder(asker: Any) -> None:
    """The module `cs110.autograder`; every file name that its functions take means the program."""
    package, module = types.ModuleType("cs110"), types.ModuleType("cs110.autograder")

    def run_script(filename: str = "", inputs: Any = (), *_: Any, **__: Any) -> tuple[str, str]:
        lines = [inputs] if isinstance(inputs, str) else inputs
        stdin = "".join(f"{line}\n" for line in lines)
        try:
            stdout, error = asker.ask('["script",' + quote(stdin) + "]", str, list | None)
        except ProgramEndedError as ended:
            return "", str(ended)
        if error is None:
            return stdout, ""
        kind, text, line = (*error, "", "", "")[:3]
        return stdout, f"{kind}: {text} (line {line})"

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
                else f"Line {number}: INCORRECT (expected {shown(want)}, got {shown(got)})"
            )
        return right

    def code_compiles(filename: str = "", *_: Any) -> bool:
        try:
            asker.ask('["compiles"]', bool)
        except ProgramEndedError as ended:
            return str(ended) != "does not compile"
        return True

    for function in (run_script, equals, compare_strings, code_compiles):
        setattr(module, function.__name__, function)
    package.autograder = module  # type: ignore[attr-defined]
    sys.modules["cs110"], sys.modules["cs110.autograder"] = package, module


class TestRun:
    """One run of a unittest or pytest-style file; `begins` and `report` tell of each test as it comes."""

    __test__ = False

    def __init__(
        self, asker: Any, clock: TestClock, begins: Callable[[str], None], report: Callable[[Result], None]
    ) -> None:
        self._asker = asker
        self._clock = clock
        self._begins = begins
        self._report = report

    def run(self, code: types.CodeType, names: list[str]) -> None:
        """One result for each of `names`: `TestCase.test_method`, or `test_function`."""
        printed = LimitedText()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                self._clock.start()
                namespace = _execute(code)
                self._clock.stop()
            except BaseException as error:
                self._clock.stop()
                first, *rest = names
                self._report([first, *_failure(self._asker.fault or error), None])
                for test in rest:
                    self._report([test, "not run", "", None, None, None])
                return
            for kind in dict.fromkeys(test.split(".")[0] for test in names if "." in test):
                self._run_class(namespace, kind, [test for test in names if test.startswith(f"{kind}.")])
            for test in names:
                if "." not in test:
                    self._run_function(test, namespace)

    def begin(self, test: str) -> None:
        """A test begins: what happened before it does not count."""
        self._begins(test)
        self._asker.fault = None
        Waiting.depth = 0
        self._clock.start()

    def end(self, test: str, result: Result) -> None:
        """A test has ended. One in which the program ended, say, has not passed, whatever the test caught."""
        self._clock.stop()
        if self._clock.is_over:
            result = _failure(TestTooLongError())
        elif self._asker.fault is not None:
            result = _failure(self._asker.fault)
        self._report([test, *result, None])

    def _run_class(self, namespace: dict[str, Any], kind: str, tests: list[str]) -> None:
        recorder = _Recorder(self, kind)
        try:
            methods = sorted(test.split(".")[1] for test in tests)
            suite = unittest.TestSuite(namespace[kind](method) for method in methods)
            self._clock.start()
            suite.run(recorder)
        except BaseException as error:  # of setUpClass, say
            recorder.whole = _failure(error)
        self._clock.stop()
        whole = recorder.whole or ["error", "the test did not come to an end", None, None]
        for test in tests:
            if test not in recorder.reported:
                self._report([test, *whole, None])

    def _run_function(self, test: str, namespace: dict[str, Any]) -> None:
        """A pytest-style function, once for each set of parameters."""
        self.begin(test)
        result: Result = ["passed", "", None, None]
        try:
            function = namespace[test]
            for case in getattr(function, "cases", [{}]):
                function(**case)
        except BaseException as error:
            result = _failure(error)
        self.end(test, result)


class _Recorder(unittest.TestResult):
    """The outcome of each method of a class, in the grader's words."""

    def __init__(self, run: TestRun, kind: str) -> None:
        super().__init__()
        self._run = run
        self._kind = kind
        self._result: Result | None = None
        self.reported: set[str] = set()
        self.whole: Result | None = None  # the result of all others, where setUpClass failed

    def _name(self, test: unittest.TestCase) -> str:
        return f"{self._kind}.{test._testMethodName}"

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        self._result = None
        self._run.begin(self._name(test))

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        name = self._name(test)
        self.reported.add(name)
        self._run.end(name, self._result or ["error", "the test did not come to an end", None, None])

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        self._result = self._result or ["passed", "", None, None]

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        if isinstance(test, unittest.TestCase):
            self._result = _failure(err[1])
        else:
            self.whole = _failure(err[1])

    addFailure = addError  # noqa: N815

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self._result = self._result or _failure(err[1])

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        self._result = ["not run", f"skipped: {quoted(str(reason))}", None, None]

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        """Only an assertion of the test's is the failure that it expects, not a program that stops."""
        is_assertion = isinstance(err[1], AssertionError) and not hasattr(err[1], "student")
        self._result = ["passed", "", None, None] if is_assertion else _failure(err[1])

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        self._result = ["failed", "the test was expected to fail", None, None]


def _failure(error: BaseException) -> Result:
    """Outcome, message, exception and line of the student's program."""
    student = getattr(error, "student", None)
    if student is not None:
        kind, message, line = student
        outcome = "out of memory" if kind == "MemoryError" else "error"
        words = f"stopped with {kind}" + (f" on line {line}" if line else "")
        return [outcome, words + (f": {quoted(message)}" if message else ""), kind, line]
    if isinstance(error, ProgramEndedError):
        words = str(error)
        return [words if words in ("timeout", "out of memory", "output limit") else "error", "", None, None]
    if isinstance(error, UnsupportedError):
        return ["error", clean(f"the grader cannot run this test: {error}", MAX_MESSAGE), None, None]
    if isinstance(error, TestTooLongError):
        return ["error", "the test itself takes too long", None, None]
    if isinstance(error, AssertionError):
        text = error.args[0] if error.args else ""
        words = clean(text, MAX_MESSAGE) if type(text) is Standard else quoted(_text(error))
        return ["failed", words, None, None]
    kind, words = name(type(error).__name__, "Exception"), quoted(_text(error))
    return ["error", kind + (f": {words}" if words else ""), kind, None]


def _text(error: BaseException) -> str:
    """Its text; the test may have put one of the program's objects into it, whose text is the program's."""
    try:
        return str(error)
    except Exception:
        return ""


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
    if operator == "Holds":
        if not got:
            raise AssertionError(Standard(f"{text} does not hold"))
        return
    words, holds = _COMPARISONS[operator]
    if not holds(got, expected):
        raise AssertionError(Standard(f"{text} is {shown(got)}, expected {words}{shown(expected)}"))

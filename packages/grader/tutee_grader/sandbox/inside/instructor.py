"""Running a file of unittest or pytest-style tests."""

import contextlib
import signal
import time
import types
import unittest
from collections.abc import Callable
from typing import Any

from raising import Waiting
from results import LimitedText, Result, TestTooLongError, execute, failure, settled
from words import quoted


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
        self._fault: BaseException | None = None  # of the asker's, from before the present test

    def run(self, code: types.CodeType, names: list[str]) -> None:
        """One result for each of `names`: `TestCase.test_method`, or `test_function`."""
        printed = LimitedText()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                self._clock.start()
                namespace = execute(code, self._asker)
                self._clock.stop()
            except BaseException as error:
                self._clock.stop()
                first, *rest = names
                self._report([first, *failure(self._asker.fault or error), None])
                for test in rest:
                    self._report([test, "not run", "", None, None, None])
                return
            for kind in dict.fromkeys(test.split(".")[0] for test in names if "." in test):
                self._run_class(namespace, kind, [test for test in names if test.startswith(f"{kind}.")])
            for test in names:
                if "." not in test:
                    self._run_function(test, namespace)

    def begin(self, test: str) -> None:
        """A test begins: of what happened before it, only setUpClass counts."""
        self._begins(test)
        self._fault = self._asker.fault
        self._asker.lacked = None
        Waiting.depth = 0
        self._clock.start()

    def end(self, test: str, result: Result) -> None:
        """A test has ended."""
        self._clock.stop()
        result = failure(TestTooLongError()) if self._clock.is_over else settled(result, self._asker)
        self._asker.fault = self._fault
        self._report([test, *result, None])

    def _run_class(self, namespace: dict[str, Any], kind: str, tests: list[str]) -> None:
        recorder = _Recorder(self, kind)
        try:
            methods = sorted(test.split(".")[1] for test in tests)
            suite = unittest.TestSuite(namespace[kind](method) for method in methods)
            self._clock.start()
            suite.run(recorder)
        except BaseException as error:  # of setUpClass, say
            recorder.whole = failure(error)
        self._clock.stop()
        self._asker.fault = None
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
            result = failure(error)
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
            self._result = failure(err[1])
        else:
            self.whole = failure(err[1])

    addFailure = addError  # noqa: N815

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        if err is not None:
            self._result = self._result or failure(err[1])

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:  # noqa: N802
        self._result = ["not run", f"skipped: {quoted(str(reason))}", None, None]

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:  # noqa: N802
        """Only an assertion of the test's is the failure that it expects, not a program that stops."""
        is_assertion = isinstance(err[1], AssertionError) and not hasattr(err[1], "student")
        self._result = ["passed", "", None, None] if is_assertion else failure(err[1])

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        self._result = ["failed", "the test was expected to fail", None, None]

"""Running a FalconCode test case, with the module `cs110.autograder` that it imports."""

import contextlib
import sys
import types
from typing import Any

from channel import ProgramEndedError
from remote import shown
from results import MAX_MESSAGE, LimitedText, Result, execute, failure, settled
from values import quote
from words import quoted


def run_falcon(code: types.CodeType, test: str, max_score: float, asker: Any) -> Result:
    """The result of the one test, `test_passed()`."""
    _provide_autograder(asker)
    printed = LimitedText()
    try:
        with contextlib.redirect_stdout(printed):
            namespace = execute(code, asker)
            score = namespace["test_passed"]()
        score = max_score * score if isinstance(score, bool) else float(score or 0.0)
    except BaseException as error:
        return [test, *settled(failure(error), asker), None]
    share = min(100.0, max(0.0, 100.0 * score / max_score))
    words = quoted(printed.getvalue(), MAX_MESSAGE // 2)
    message = f"your program scored {score:g} of {max_score:g}" + (f": {words}" if words else "")
    own = ["passed", "", None, None] if share == 100.0 else ["failed", message, None, None]
    result = settled(own, asker)
    return [test, *result, share if result is own else None]


def _ask(asker: Any, question: str, *kinds: Any) -> "tuple[list[Any] | None, str]":
    """The answer, or None and how the program ended instead, which the test is told and may judge by itself.

    Whatever else comes back, a whole program raises nothing in the test: that is not what a test waits for.
    """
    fault = asker.fault
    try:
        return asker.ask(question, *kinds), ""
    except ProgramEndedError as ended:
        asker.fault = fault
        return None, str(ended)
    except BaseException as error:
        asker.failed(error)
        raise


def _provide_autograder(asker: Any) -> None:
    """The module `cs110.autograder`; every file name that its functions take means the program."""
    package, module = types.ModuleType("cs110"), types.ModuleType("cs110.autograder")

    def run_script(filename: str = "", inputs: Any = (), *_: Any, **__: Any) -> tuple[str, str]:
        lines = [inputs] if isinstance(inputs, str) else inputs
        stdin = "".join(f"{line}\n" for line in lines)
        answer, ended = _ask(asker, '["script",' + quote(stdin) + "]", str, list | None, bool)
        if answer is None:
            return "", ended
        stdout, error, leaves_state = answer
        if leaves_state:
            asker.renew()
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
        return _ask(asker, '["compiles"]', bool)[1] != "does not compile"

    for function in (run_script, equals, compare_strings, code_compiles):
        setattr(module, function.__name__, function)
    package.autograder = module  # type: ignore[attr-defined]
    sys.modules["cs110"], sys.modules["cs110.autograder"] = package, module

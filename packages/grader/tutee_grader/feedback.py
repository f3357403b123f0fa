"""What a student reads: the same words for the same verdict, always."""

from typing import Literal

from tutee_grader.verdict import Outcome, Status, Verdict

Level = Literal["summary", "full", "none"]


def feedback(verdict: Verdict, level: Level = "summary") -> str:
    """The verdict in words: no addresses, no paths, no times, so that it never varies.

    `summary` is one or two sentences, `full` adds a line per test, `none` is empty.
    """
    if level == "none":
        return ""
    summary = _summary(verdict)
    if level == "summary":
        return summary
    if level == "full":
        return "\n".join([summary, *(_line(test.name, test.outcome, test.message) for test in verdict.tests)])
    raise ValueError(f"feedback level {level!r} is not one of summary, full, none")


def _summary(verdict: Verdict) -> str:
    tests = verdict.tests
    if verdict.status != Status.COMPILES:
        reason = tests[0].message if tests else ""
        return _sentence(f"Your program {verdict.status}" + (f": {reason}" if reason else ""))
    passed = sum(test.outcome == Outcome.PASSED for test in tests)
    if passed == len(tests):
        return "The only test passed." if len(tests) == 1 else f"All {len(tests)} tests passed."
    bad = next(test for test in tests if test.outcome != Outcome.PASSED)
    if bad.message.startswith("your program "):  # it never came as far as a test
        return _sentence("Y" + bad.message[1:])
    return f"{passed} of {len(tests)} tests passed. " + _sentence(f"First failing test: {bad.message}")


def _line(name: str, outcome: Outcome, message: str) -> str:
    return _sentence(f"- {outcome}: {message or name}")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."

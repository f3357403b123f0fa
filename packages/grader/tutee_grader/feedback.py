"""What a student reads: the same words for the same verdict, always."""

from typing import Literal

from tutee_grader.verdict import Outcome, Status, Verdict

Level = Literal["summary", "full", "none", "first"]


def feedback(verdict: Verdict, level: Level = "summary") -> str:
    """The verdict in words: no addresses, no paths, no times, so that it never varies.

    `summary` is one or two sentences, `full` adds a line per test, `first` names the first failing test and
    does not count them, `none` is empty.
    """
    if level == "none":
        return ""
    summary = _summary(verdict)
    if level == "summary":
        return summary
    if level == "first":
        return _first_failing(verdict) or summary
    if level == "full":
        return "\n".join([summary, *(_line(test.name, test.outcome, test.message) for test in verdict.tests)])
    raise ValueError(f"feedback level {level!r} is not one of summary, full, first, none")


_FIRST = "First failing test: "


def _summary(verdict: Verdict) -> str:
    tests = verdict.tests
    if verdict.status != Status.COMPILES:
        reason = tests[0].message if tests else ""
        return _sentence(f"Your program {verdict.status}" + (f": {reason}" if reason else ""))
    passed = sum(test.outcome == Outcome.PASSED for test in tests)
    if passed == len(tests):
        return "The only test passed." if len(tests) == 1 else f"All {len(tests)} tests passed."
    first = _first_failing(verdict)
    if first.startswith(_FIRST):
        return f"{passed} of {len(tests)} tests passed. {first}"
    return first


def _first_failing(verdict: Verdict) -> str:
    """What is said of the first failing test; empty where all passed, or none could be run."""
    bad = next((test for test in verdict.tests if test.outcome != Outcome.PASSED), None)
    if bad is None or verdict.status != Status.COMPILES:
        return ""
    if bad.message.startswith("your program "):  # it never came as far as a test
        return _sentence("Y" + bad.message[1:])
    return _sentence(f"{_FIRST}{bad.message}")


def _line(name: str, outcome: Outcome, message: str) -> str:
    return _sentence(f"- {outcome}: {message or name}")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."

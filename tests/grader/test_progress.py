"""Progress of long work, on a terminal and off it."""

import io
import sys

import pytest

from tutee_grader import progress
from tutee_grader.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, **more: bool) -> str:
    """What three units of work write to stderr."""
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress_bar("grade", 3, "programs", **more) as bar:
        for _ in range(3):
            bar.update()
    return stderr.getvalue()


def test_off_a_terminal_work_that_takes_long_has_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    text = shown(monkeypatch, io.StringIO())
    assert text.endswith("\n")
    assert "\r" not in text
    lines = text.splitlines()
    assert [line.split(",")[0] for line in lines if line.startswith("grade: 2")] == ["grade: 2 of 3 programs"]
    assert lines[-1].startswith("grade: 3 of 3 programs, ")


def test_off_a_terminal_short_work_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.StringIO()) == ""


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\rgrade: 100%|" in shown(monkeypatch, Terminal())


def test_what_is_not_to_be_shown_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    assert shown(monkeypatch, Terminal(), shown=False) == ""

"""Graders with real sandboxes, shared by the tests of the grader, and a way to write assignments."""

import marshal
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tutee_grader import Assignment, Grader
from tutee_grader.sandbox import worker


@pytest.fixture(scope="session", params=["landlock", "bubblewrap"])
def any_grader(request: pytest.FixtureRequest) -> Iterator[Grader]:
    """A grader of one worker, in each of the two full modes."""
    if request.param == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    with Grader(1, bubblewrap=request.param == "bubblewrap") as made:
        yield made


@pytest.fixture(scope="session")
def grader() -> Iterator[Grader]:
    """A grader of two workers with no package beyond Python."""
    with Grader(2, bubblewrap=False) as made:
        yield made


@pytest.fixture
def oldest_landlock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Grader]:
    """A grader that uses no more of Landlock than its first version has (Linux 5.13)."""
    codes = marshal.loads(worker._modules())
    source = (worker.INSIDE / "landlock.py").read_text()
    assert "known = version()" in source
    codes["landlock"] = compile(source.replace("known = version()", "known = 1"), "landlock", "exec")
    monkeypatch.setattr(worker, "_modules", lambda: marshal.dumps(codes))
    with Grader(1, bubblewrap=False) as made:
        assert made.protections["landlock"] == 1
        yield made


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes an assignment's folder: `write("name", **{"tests.yaml": text, ...})`."""

    def write_folder(name: str = "task", **files: str) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for file, text in {"task.md": "Do it.", **files}.items():
            (folder / file).write_text(text)
        return folder

    return write_folder


@pytest.fixture
def calls(write: Callable[..., Path]) -> Callable[..., Assignment]:
    """An assignment of the form `calls` from pairs of call and expected literal."""

    def make(*pairs: tuple[str, str], limits: str = "{seconds: 1}", extra: str = "") -> Assignment:
        rows = "".join(f"  - {{call: {call!r}, returns: {returns!r}{extra}}}\n" for call, returns in pairs)
        return Assignment.load(write(**{"tests.yaml": f"form: calls\nlimits: {limits}\ntests:\n{rows}"}))

    return make

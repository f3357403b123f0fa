"""The guide docs/your-course.md, followed literally: files written, commands run, output compared."""

import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
GUIDE = REPOSITORY / "docs" / "your-course.md"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> Iterator[tuple[str, str, str]]:
    """Each fenced block: its language, the file that it is, if any, and its text."""
    return iter(BLOCK.findall(GUIDE.read_text(encoding="utf-8")))


def commands(console: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, with what the guide says it prints."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of what the guide's commands need of the repository, with the environment of these tests."""
    for name in ("presets", "params.yaml", "tests/courses/synthetic_export.py"):
        source, copy = REPOSITORY / name, tmp_path / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.mark.slow
def test_the_guide_does_what_it_says(folder: Path) -> None:
    for language, file, text in blocks():
        if file:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
        for command, expected in commands(text) if language == "console" else ():
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=folder,
                env={**os.environ, "LC_ALL": "C"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            matches = doctest.OutputChecker().check_output(expected, done.stdout, doctest.ELLIPSIS)
            assert matches, f"{command} prints\n{done.stdout}\nand not what the guide says:\n{expected}"


def test_every_block_of_the_guide_is_a_file_or_run_but_for_the_training() -> None:
    others = [text for language, file, text in blocks() if language != "console" and not file]
    assert others == ["make retrain COURSE=courses/mine/course.yaml\n"]


def test_every_link_of_the_guide_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", GUIDE.read_text(encoding="utf-8")):
        assert (GUIDE.parent / target).exists(), target

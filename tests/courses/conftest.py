"""The simulator of the demo course is a program, not a package: its folder has to be on the path."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tutee_grader import Assignment, Grader

DEMO = Path(__file__).parents[2] / "courses" / "demo"
sys.path.insert(0, str(DEMO / "simulator"))


@pytest.fixture(scope="session")
def demo() -> Path:
    return DEMO


@pytest.fixture(scope="session")
def demo_assignments() -> dict[str, Assignment]:
    return {folder.name: Assignment.load(folder) for folder in sorted((DEMO / "assignments").iterdir())}


@pytest.fixture(scope="session")
def grader() -> Iterator[Grader]:
    with Grader() as grader:
        yield grader

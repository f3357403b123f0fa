"""Writes small courses for tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from tutee_serializer.course import Course


def write_course(
    folder: Path, name: str, solutions: Mapping[str, str], calls: Mapping[str, Sequence[tuple[str, str]]]
) -> Course:
    """A course whose log has no rows; `calls` are each assignment's, with what they return."""
    for task, solution in solutions.items():
        assignment = folder / "assignments" / task
        assignment.mkdir(parents=True)
        (assignment / "task.md").write_text(f"Write the function `{task}`.\n")
        (assignment / "solution.py").write_text(solution)
        listed = [{"call": call, "returns": returns} for call, returns in calls[task]]
        (assignment / "tests.yaml").write_text(yaml.safe_dump({"form": "calls", "tests": listed}))
    (folder / "log.csv").write_text("student,assignment,code,semester,attempt\n")
    values = {
        "name": name,
        "synthetic": True,
        "logs": {"path": "log.csv"},
        "columns": {column: column for column in ("student", "assignment", "code", "semester", "attempt")},
        "assignments": {"path": "assignments"},
        "semesters": {"train": ["one"], "test": ["two"]},
    }
    (folder / "course.yaml").write_text(yaml.safe_dump(values))
    return Course.load(folder / "course.yaml")

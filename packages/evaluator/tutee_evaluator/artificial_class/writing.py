"""Writes an artificial class as a folder: a table and ProgSnap2, each with a course file, and what it is."""

import json
from collections.abc import Mapping
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml

from tutee_evaluator.artificial_class.audit import Audit
from tutee_evaluator.artificial_class.realism import realism_table
from tutee_grader.errors import InputError
from tutee_serializer.logs.export import export_progsnap

if TYPE_CHECKING:
    from tutee_serializer.course import Course

TABLE, PROGSNAP, ABOUT, README = "submissions.csv", "progsnap2", "metadata.json", "README.md"
COURSE_FILES = {"table": "course.yaml", "progsnap2": "progsnap2.yaml"}
# The table's columns, each the course file's key for it, with the column of SUBMISSIONS that it holds.
_COLUMNS = {
    "student": "student",
    "assignment": "assignment",
    "semester": "semester",
    "attempt": "order",
    "timestamp": "submitted_at",
    "score": "logged_score",
    "code": "code",
}


def check_folder(folder: Path, overwrite: bool) -> None:
    """Raises InputError unless a class may be written to `folder`: a new one, or another class's place."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    ours = {TABLE, PROGSNAP, ABOUT, README, *COURSE_FILES.values()}
    if not folder.is_dir() or not {ABOUT} <= {entry.name for entry in folder.iterdir()} <= ours:
        raise InputError(f"{folder}: is there and no artificial class; name another folder with --out")
    if not overwrite:
        raise InputError(
            f"{folder}: holds an artificial class; replace it with --overwrite, or name another folder with "
            "--out"
        )


def write_class(
    attempts: pl.DataFrame,
    about: Mapping[str, Any],
    audit: Audit,
    course: "Course",
    folder: Path,
    final: Path,
) -> None:
    """Writes SUBMISSIONS of an artificial class of `course` into `folder`, which is then moved to `final`.

    `about` is what the class is made of and looks like, which goes into its metadata and its README.
    """
    timed = about["times"] is not None
    columns = {name: source for name, source in _COLUMNS.items() if timed or name != "timestamp"}
    attempts.with_columns(pl.col("submitted_at").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).select(
        pl.col(source).alias(name) for name, source in columns.items()
    ).write_csv(folder / TABLE, quote_style="non_numeric")
    export_progsnap(attempts, folder / PROGSNAP, _properties(about))
    by_table = {"columns": {name: name for name in columns}}
    _write_course(course, "table", TABLE, by_table, folder, final)
    _write_course(course, "progsnap2", PROGSNAP, {}, folder, final)
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    (folder / README).write_text(_readme(about, audit), encoding="utf-8")


def _properties(about: Mapping[str, Any]) -> dict[str, str]:
    """What the data set's own metadata says beyond the standard."""
    return {
        "X-Synthetic": "true",
        "X-Description": "No student in this data set is real: artificial students wrote all of it",
        "X-Course": about["course"],
        "X-StudentModel": ", ".join(f"{name}: {value}" for name, value in about["student model"].items()),
        "X-Seed": str(about["seed"]),
        "X-MadeWith": ", ".join(f"{name} {version}" for name, version in about["made with"].items()),
    }


def _write_course(
    course: "Course", format: str, path: str, more: Mapping[str, Any], folder: Path, final: Path
) -> None:
    """A course file by which tutee imports the class; the assignments stay where the teacher has them."""
    values = {
        "name": f"{course.name}-artificial",
        "synthetic": True,
        "logs": {"path": path, "format": format},
        **more,
        "assignments": {
            "path": relpath(course.assignments_folder.resolve(), final.resolve()),
            **({"tests": course.assignments.tests} if course.assignments.tests else {}),
        },
        "semesters": {"split": "students", "test": 0.2},
    }
    head = "# Artificial students: no student in this log is real (see README.md).\n"
    text = head + yaml.safe_dump(values, sort_keys=False)
    (folder / COURSE_FILES[format]).write_text(text, encoding="utf-8")


def _readme(about: Mapping[str, Any], audit: Audit) -> str:
    times = (
        f"drawn as in the log; the days are those of its semester {about['calendar of']}"
        if about["times"]
        else "none: the log has none to learn from, so attempts are only numbered"
    )
    model = "\n".join(f"- {name}: {value}" for name, value in about["student model"].items())
    return f"""# An artificial class

**No student in this folder is real.** {about["students"]:,} artificial students wrote all programs, and
the grader of the course `{about["course"]}` graded them. Seed {about["seed"]}; times: {times}.

The student model that played everyone:

{model}

| file | what it holds |
|---|---|
| `{TABLE}` | one row per attempt; `{COURSE_FILES["table"]}` is a course file of tutee that reads it |
| `{PROGSNAP}/` | the same as ProgSnap2 v1.0; `{COURSE_FILES["progsnap2"]}` reads it |
| `{ABOUT}` | model, seed, versions, and the figures below |

The assignments (tasks, solutions, tests) are the teacher's and are not in here: `assignments.path` of the
course files says where they lay, from this folder.

## What it owes to single students

Compared with every real program of the log:

- {audit.copies}
- {audit.stretches}

## How it looks beside the real semesters

```
{realism_table(about["figures"])}
```
"""

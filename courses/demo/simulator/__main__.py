"""Writes the log of a synthetic class as CSV. No student in it is real.

    python courses/demo/simulator --out submissions.csv --seed 2026 --semester 2024-autumn=150

The same seed and semesters give the same bytes on any machine. Prints one line of JSON: how many
submissions, and how many rows of each kind of dirt (dirt.py) are among them.
"""

import argparse
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import classroom
import dirt
from classroom import Row

COLUMNS = ("student", "semester", "assignment", "submitted_at", "score", "code")
ARM = "arm"  # one more column, where there are several
LEVELS = ("none", "first", "summary", "full")
ASSIGNMENTS = Path(__file__).parent.parent / "assignments"


def write(rows: list[Row], file: Path, with_arm: bool) -> None:
    """The log as CSV: UTF-8, but for the lines of a foreign encoding."""
    columns = (*COLUMNS, ARM) if with_arm else COLUMNS
    with file.open("wb") as out:
        for row in [None, *rows]:
            buffer = io.StringIO()
            fields = columns if row is None else _fields(row)[: len(columns)]
            csv.writer(buffer, lineterminator="\n").writerow(fields)
            out.write(buffer.getvalue().encode("utf-8" if row is None else row.encoding))


def _fields(row: Row) -> tuple[str, ...]:
    time = row.submitted_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return row.student, row.semester, row.assignment, time, f"{row.score:g}", row.code, row.arm


def simulate(seed: int, semesters: dict[str, int], arms: Sequence[str], file: Path) -> dict[str, object]:
    """Simulates the semesters and writes their log. Returns the counts that are printed."""
    from tutee_grader import Assignment, Grader

    assignments = {folder.name: Assignment.load(folder) for folder in sorted(ASSIGNMENTS.iterdir())}
    with Grader() as grader:
        trajectories, _ = classroom.run(
            seed,
            semesters,
            lambda asked: grader.grade([(assignments[name], code) for name, code in asked]),
            arms,
        )
    submissions = sum(map(len, trajectories))
    trajectories, counts = dirt.soil(trajectories, Random(f"{seed}/dirt"))
    # A log is in the order in which its rows came in: a row with a wrong clock keeps its place.
    arrivals = [
        (max(row.submitted_at for row in rows[: at + 1]), number, at)
        for number, rows in enumerate(trajectories)
        for at in range(len(rows))
    ]
    rows = [trajectories[number][at] for _, number, at in sorted(arrivals)]
    write(rows, file, with_arm=len(arms) > 1)
    return {"rows": len(rows), "submissions": submissions, "dirt": counts}


def _semester(text: str) -> tuple[str, int]:
    name, _, count = text.partition("=")
    if not name[:4].isdigit() or not count.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not like 2024-autumn=150")
    return name, int(count)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument(
        "--semester", type=_semester, action="append", required=True, help="NAME=STUDENTS, once per semester"
    )
    parser.add_argument(
        "--arm",
        action="append",
        choices=LEVELS,
        help="a level of feedback, once per arm; each student is given that of one arm",
    )
    arguments = parser.parse_args()
    arms = arguments.arm or classroom.ONE_ARM
    print(json.dumps(simulate(arguments.seed, dict(arguments.semester), arms, arguments.out)))


if __name__ == "__main__":
    main()

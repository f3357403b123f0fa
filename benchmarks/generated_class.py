"""A synthetic class of any size, for timing only: its programs look like beginners' work and mean nothing."""

import csv
import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

_ASSIGNMENTS = 12
_START = datetime(2026, 1, 12, 9, tzinfo=UTC)
_NAMES = ["total", "count", "result", "value", "best", "number", "item", "x", "n", "acc", "answer", "current"]
_SLIPS = [
    ("<=", "<"),
    ("+ 1", "- 1"),
    ("return ", "return -"),
    ("== 0", "!= 0"),
    ("+=", "-="),
    ("range(", "len("),
]
_DIGITS = re.compile(r"\b[0-9]+\b")
_COLUMNS = ["student", "assignment", "semester", "timestamp", "score", "code"]


def generate_course(folder: Path, rows: int, seed: int = 0) -> Path:
    """Writes assignments, a log of `rows` submissions and the course file into `folder`; returns the file.

    A student makes 1 to 15 submissions on each of five of the twelve assignments; every fourth student
    is of the test semester.
    """
    names = [f"task_{number:02}" for number in range(_ASSIGNMENTS)]
    for name in names:
        assignment = folder / "assignments" / name
        assignment.mkdir(parents=True)
        (assignment / "task.md").write_text(f"Write `{name}(n)`, which adds some of the numbers up to n.\n")
        (assignment / "solution.py").write_text(f"def {name}(n):\n    return 0\n")
        (assignment / "tests.yaml").write_text(
            f'form: calls\ntests:\n  - {{call: "{name}(1)", returns: "0"}}\n'
        )
    with (folder / "log.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        _write_log(writer, names, rows, random.Random(seed))
    course = {
        "name": "generated",
        "synthetic": True,
        "logs": {"path": "log.csv"},
        "columns": {name: name for name in _COLUMNS},
        "assignments": {"path": "assignments"},
        "semesters": {"train": ["A"], "test": ["B"]},
    }
    (folder / "course.yaml").write_text(yaml.safe_dump(course))
    return folder / "course.yaml"


def _write_log(writer: Any, names: list[str], rows: int, chance: random.Random) -> None:
    written = student = 0
    while True:
        student += 1
        now = _START + timedelta(seconds=chance.randrange(10**6))
        for name in sorted(chance.sample(names, 5)):
            lines = _first_attempt(chance, name)
            attempts = chance.randint(1, 15)
            for attempt in range(attempts):
                if written == rows:
                    return
                solved = attempt == attempts - 1 and chance.random() < 0.6
                score = 100 if solved else chance.randrange(10) * 10
                now += timedelta(seconds=chance.randint(20, 900))
                semester = "A" if student % 4 else "B"
                # One in 30 was handed in with a colon forgotten.
                code = "\n".join(lines).replace(":", "", chance.random() < 1 / 30)
                writer.writerow([f"s{student:06}", name, semester, now.isoformat(), score, code])
                lines = _next_attempt(chance, lines)
                written += 1


def _first_attempt(chance: random.Random, name: str) -> list[str]:
    """Some 14 lines, spelled in the student's own way."""
    total, item, limit = chance.sample(_NAMES, 3)
    a, b, c = (chance.randint(0, 20) for _ in range(3))
    return [
        f"def {name}({limit}):",
        f"    {total} = {a}",
        f"    for {item} in range({limit} + 1):",
        f"        if {item} % {b + 2} == 0:",
        f"            {total} += {item}",
        f"        elif {item} <= {c}:",
        f"            {total} = {total} + {b}",
        "        else:",
        f"            print({item}, 'is left out')",
        f"    while {total} > {limit} * {a + 3}:",
        f"        {total} = {total} - {c + 1}",
        f"    if {total} <= 0:",
        f"        {total} = {c}",
        f"    return {total}",
        "",
    ]


def _next_attempt(chance: random.Random, lines: list[str]) -> list[str]:
    """Mostly one line changed; at times nothing, only a comment, or a line more."""
    lines = list(lines)
    place = chance.randrange(1, len(lines) - 1)
    line = lines[place]
    slips = [slip for slip in _SLIPS if slip[0] in line]
    kind = chance.random()
    if kind < 0.1:
        pass
    elif kind < 0.15:
        lines[place] += "  # changed"
    elif kind < 0.5 and slips:
        lines[place] = line.replace(*chance.choice(slips))
    elif kind < 0.8 and _DIGITS.search(line):
        lines[place] = _DIGITS.sub(str(chance.randint(0, 99)), line)
    else:
        lines.insert(len(lines) - 2, f"    print({chance.choice(_NAMES)}, {chance.randint(0, 99)})")
    return lines

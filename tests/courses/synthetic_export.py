"""Writes the exports of docs/your-course.md: a synthetic class, of which no student is real.

    python tests/courses/synthetic_export.py FOLDER

The exports are two terms as ProgSnap2 (FOLDER/2024, FOLDER/2025) and both as one table (FOLDER/log.csv).
They have what exports of real tutors have: no DatasetMetadata.csv, no TermID, `NA` for a label, a column of
code that holds 200 characters, programs that end with a stray backslash, hints, and other events.
"""

import csv
import random
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

LIMIT = 200
TERMS = {"2024": datetime(2024, 10, 7, 9), "2025": datetime(2025, 10, 6, 9)}
STUDENTS = 12
# The attempts at each problem, from wrong to right; of the last problem nobody knows which are right.
ATTEMPTS = {
    "double": [
        "def double(n):\n    print(n * 2)\n",
        "def double(n):\n    return n + 2\n",
        "def double(n):\n    return n * 2\n",
    ],
    "count_even": [
        "def count_even(numbers):\n    for n in numbers\n        n % 2\n",
        "def count_even(numbers):\n    count = 0\n    for n in numbers:\n"
        "        count = 1\n    return count\n",
        "def count_even(numbers):\n    count = 0\n    for n in numbers:\n        if n % 2 == 0:\n"
        "            count += 1\n    return count\n",
    ],
    "treasure_hunt": [
        "def treasure_hunt(grid):\n    return grid[0]\n",
        "def treasure_hunt(grid):\n    return max(max(row) for row in grid)\n",
    ],
}
HINTS = {
    "double": "Does the function give its value back?",
    "count_even": "What does n % 2 say?",
}
COLUMNS = (
    *("EventType", "EventID", "Order", "SubjectID", "ToolInstances", "CodeStateID", "ServerTimestamp"),
    *("ProblemID", "Correct", "InterventionMessage", "X-HintText"),
)

Event = dict[str, Any]


def events(term: str, chance: random.Random) -> Iterator[Event]:
    """What the students of a term did, in the order of their work; `Code` is no column of the standard."""
    for student in range(STUDENTS):
        clock = TERMS[term] + timedelta(minutes=7 * student)
        own: Event = {"SubjectID": f"synthetic-{term}-{student:02}", "ToolInstances": "Tutor; Python"}
        yield {**own, "EventType": "Session.Start", "ServerTimestamp": clock.isoformat()}
        for problem, attempts in ATTEMPTS.items():
            first = chance.choice([0, 0, 0, len(attempts) - 1])
            for number, attempt in enumerate(attempts[first:], first):
                clock += timedelta(seconds=chance.randint(40, 400))
                event = {**own, "ProblemID": problem, "ServerTimestamp": clock.isoformat()}
                right = str(number == len(attempts) - 1).upper()
                code = f"# attempt {number + 1} of {student}\n{attempt}"
                yield {
                    **event,
                    "EventType": "Submit",
                    "Code": code,
                    "Correct": "NA" if problem == "treasure_hunt" else right,
                }
                if right == "FALSE" and problem in HINTS and chance.random() < 0.3:
                    yield {**event, "EventType": "X-HintRequest", "X-HintText": HINTS[problem], "Code": code}
                elif right == "FALSE" and chance.random() < 0.2:
                    message = "Run your function once yourself before you hand it in."
                    yield {**event, "EventType": "Intervention", "InterventionMessage": message, "Code": code}


def spoil(submissions: list[Event], chance: random.Random) -> None:
    """What the export does to some programs: a backslash too many, and an end at the column's limit."""
    for event in chance.sample(submissions, 6):
        event["Code"] = event["Code"].rstrip() + "\\"
    whole = [event for event in submissions if not event["Code"].endswith("\\")]
    for event in chance.sample(whole, 6):
        tried = ", ".join(str(chance.randint(1, 99)) for _ in range(60))
        event["Code"] = f"{event['Code']}print({event['ProblemID']}([{tried}]))\n"[:LIMIT]


def write(folder: Path) -> None:
    chance = random.Random(2026)
    table: list[Event] = []
    for term in TERMS:
        rows = list(events(term, chance))
        submissions = [row for row in rows if row["EventType"] == "Submit"]
        spoil(submissions, chance)
        table += [{**row, "Term": term} for row in submissions]
        codes = list(dict.fromkeys(row["Code"] for row in rows if "Code" in row))
        states = {code: f"{term}-{number}" for number, code in enumerate(codes)}
        for number, row in enumerate(rows):
            row |= {
                "EventID": f"{term}-{number}",
                "Order": number,
                "CodeStateID": states.get(row.get("Code")),
            }
        _write(folder / term / "MainTable.csv", COLUMNS, rows)
        code_states = [{"CodeStateID": state, "Code": code} for code, state in states.items()]
        _write(folder / term / "CodeStates" / "CodeState.csv", ("CodeStateID", "Code"), code_states)
    names = ("SubjectID", "Term", "ProblemID", "ServerTimestamp", "Correct", "Code")
    _write(folder / "log.csv", names, table)


def _write(path: Path, columns: tuple[str, ...], rows: list[Event]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    write(Path(sys.argv[1]))

"""Grading a table of submissions, partition by partition, so that a killed run goes on where it stopped."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from tqdm import tqdm

from tutee_grader.assignment import Assignment
from tutee_grader.errors import GraderInputError
from tutee_grader.feedback import feedback
from tutee_grader.grader import Grader
from tutee_grader.verdict import Outcome, Status, TestResult, Verdict
from tutee_grader.version import VERSION

_COLUMNS: dict[str, Any] = {
    "submission_id": pl.String,
    "grade": pl.Float64,
    "status": pl.String,
    "tests": pl.List(pl.Struct({"name": pl.String, "outcome": pl.String, "message": pl.String})),
    "feedback": pl.String,
    "grader_version": pl.String,
    "protections": pl.String,
}
VERDICTS = pl.Schema(_COLUMNS)
PARTITION = 2000  # rows


def grade_table(
    submissions: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    folder: Path | str,
    *,
    workers: int | None = None,
    allow_weak: bool = False,
    cache: Path | str | None = None,
    partition: int = PARTITION,
    progress: bool = True,
) -> pl.DataFrame:
    """The VERDICTS of a table with submission_id, assignment and code, row for row.

    Finished partitions are kept in `folder` and not graded again by a later call with the same rows,
    assignments and grader. Raises GraderInputError for an assignment that is not among `assignments`.
    """
    unknown = sorted(set(submissions["assignment"].unique()) - set(assignments))
    if unknown:
        raise GraderInputError(f"submissions of unknown assignments: {', '.join(map(str, unknown))}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    with (
        Grader(workers, allow_weak, cache) as grader,
        tqdm(total=submissions.height, desc="grade", unit=" rows", disable=None if progress else True) as bar,
    ):
        for start in range(0, submissions.height, partition):
            rows = submissions.slice(start, partition)
            path = folder / f"{start:09d}-{partition_key(rows, assignments)}.parquet"
            if not path.exists():
                write_whole(grade_rows(grader, rows, assignments), path)
            parts.append(pl.read_parquet(path))
            bar.update(rows.height)
    return pl.concat(parts) if parts else pl.DataFrame(schema=VERDICTS)


def partition_key(rows: pl.DataFrame, assignments: Mapping[str, Assignment]) -> str:
    """Changes with everything that the partition's verdicts depend on."""
    digest = hashlib.sha256(VERSION.encode())
    for submission_id, assignment, code in rows.select("submission_id", "assignment", "code").iter_rows():
        parts = (submission_id, assignments[assignment].fingerprint, code)
        digest.update(repr(parts).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:16]


def grade_rows(grader: Grader, rows: pl.DataFrame, assignments: Mapping[str, Assignment]) -> pl.DataFrame:
    """The VERDICTS of a few rows."""
    pairs = [(assignments[name], code) for name, code in rows.select("assignment", "code").iter_rows()]
    protections = json.dumps(grader.protections, sort_keys=True)
    records = [
        verdict_row(submission_id, verdict, protections)
        for submission_id, verdict in zip(rows["submission_id"], grader.grade(pairs), strict=True)
    ]
    return pl.DataFrame(records, schema=VERDICTS)


def verdict_row(submission_id: str, verdict: Verdict, protections: str) -> dict[str, Any]:
    """One row of VERDICTS."""
    return {
        "submission_id": submission_id,
        "grade": verdict.grade,
        "status": str(verdict.status),
        "tests": [{"name": t.name, "outcome": str(t.outcome), "message": t.message} for t in verdict.tests],
        "feedback": feedback(verdict),
        "grader_version": VERSION,
        "protections": protections,
    }


def verdict_from_row(row: Mapping[str, Any]) -> Verdict:
    """The verdict of a row of VERDICTS: what `feedback` needs of it."""
    tests = tuple(TestResult(t["name"], Outcome(t["outcome"]), t["message"]) for t in row["tests"])
    return Verdict(row["grade"], Status(row["status"]), tests)


def write_whole(table: pl.DataFrame, path: Path) -> None:
    """Write a Parquet file that is either whole or not there."""
    unfinished = path.with_suffix(".unfinished")
    table.write_parquet(unfinished)
    unfinished.rename(path)

"""Verdicts as the rows of a table."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from tutee_grader.assignment import Assignment
from tutee_grader.feedback import feedback
from tutee_grader.grader import Grader
from tutee_grader.verdict import VERDICT_COLUMNS, Verdict
from tutee_grader.version import VERSION

_COLUMNS: dict[str, Any] = {
    "submission_id": pl.String,
    **VERDICT_COLUMNS,
    "feedback": pl.String,
    "grader_version": pl.String,
    "protections": pl.String,
}
VERDICTS = pl.Schema(_COLUMNS)


def grade_rows(grader: Grader, rows: pl.DataFrame, assignments: Mapping[str, Assignment]) -> pl.DataFrame:
    """The VERDICTS of a few rows."""
    pairs = [(assignments[name], code) for name, code in rows.select("assignment", "code").iter_rows()]
    records = [
        verdict_row(submission_id, verdict, grader.protections_text)
        for submission_id, verdict in zip(rows["submission_id"], grader.grade(pairs), strict=True)
    ]
    return pl.DataFrame(records, schema=VERDICTS)


def verdict_row(submission_id: str, verdict: Verdict, protections: str) -> dict[str, Any]:
    """One row of VERDICTS."""
    return {
        "submission_id": submission_id,
        **verdict.to_row(),
        "feedback": feedback(verdict),
        "grader_version": VERSION,
        "protections": protections,
    }

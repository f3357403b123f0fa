"""The Parquet tables of this package, each defined once."""

import polars as pl

_UTC = pl.Datetime("us", "UTC")

# A trajectory: one student's work on one assignment in one semester. Within it, `order` counts from 1.
TRAJECTORY = ["semester", "student", "assignment"]

# A message to the student that is not the grader's, after the submission that holds it.
MESSAGE = pl.Struct({"author": pl.String(), "sent_at": _UTC, "text": pl.String()})

# One row per submission that can be used, sorted by TRAJECTORY and `order`, which counts from 1 within a
# student's work on one assignment in one semester. `logged_score` is 0..100; `logged_correct` is the log's
# own label. `arm` is the arm of an experiment that the student was in; null: the log has none.
SUBMISSIONS = pl.Schema(
    {
        "submission_id": pl.String(),
        "course": pl.String(),
        "semester": pl.String(),
        "student": pl.String(),
        "assignment": pl.String(),
        "order": pl.Int64(),
        "submitted_at": _UTC,
        "code": pl.String(),
        "logged_score": pl.Float64(),
        "logged_correct": pl.Boolean(),
        "messages": pl.List(MESSAGE),
        "arm": pl.String(),
        "source_row": pl.Int64(),
    }
)

# One row per row of the log that cannot be used. `source_row` counts from 1, the header apart.
QUARANTINE = pl.Schema(
    {
        "source": pl.String(),
        "source_row": pl.Int64(),
        "reason": pl.String(),
        "field": pl.String(),
        "value": pl.String(),
    }
)

# One row per dialog. `turns` has one entry per assistant message, in order. `split` is train, validation or
# test; canary: of a made-up student (dialogs/canaries.py), whose submissions are in no other table.
DIALOGS = pl.Schema(
    {
        "dialog_id": pl.String(),
        "course": pl.String(),
        "semester": pl.String(),
        "student": pl.String(),
        "assignment": pl.String(),
        "scope": pl.String(),
        "format": pl.String(),
        "feedback": pl.String(),
        "level": pl.String(),
        "split": pl.String(),
        "messages": pl.List(pl.Struct({"role": pl.String(), "content": pl.String()})),
        "turns": pl.List(pl.Struct({"submission_id": pl.String(), "grade": pl.Float64()})),
    }
)

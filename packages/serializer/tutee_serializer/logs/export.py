"""Writes submissions as a ProgSnap2 v1.0 data set."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from tutee_serializer.logs.progsnap import MAIN_TABLE, METADATA


def export_progsnap(
    submissions: pl.DataFrame, folder: Path, properties: Mapping[str, str] | None = None
) -> None:
    """Writes a SUBMISSIONS table as a ProgSnap2 v1.0 data set, students under their pseudonyms.

    What has no score stays without one; a log's plain right or wrong becomes 1 or 0. `properties` are further
    ones of the data set; a name that is not the standard's begins with `X-`.
    """
    states = folder / "CodeStates"
    states.mkdir(parents=True, exist_ok=True)
    distinct = submissions.select("code").unique(maintain_order=True)
    ids = [hashlib.sha256(code.encode()).hexdigest()[:16] for code in distinct["code"]]
    code = distinct.with_columns(pl.Series("CodeStateID", ids)).select("CodeStateID", Code="code")
    score = pl.coalesce(pl.col("logged_score") / 100, pl.col("logged_correct").cast(pl.Float64))
    main = submissions.join(code, left_on="code", right_on="Code", how="left", maintain_order="left").select(
        pl.lit("Submit").alias("EventType"),
        EventID="submission_id",
        Order="order",
        SubjectID="student",
        ToolInstances=pl.lit("Python"),
        CodeStateID="CodeStateID",
        ServerTimestamp=pl.col("submitted_at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6f"),
        ServerTimezone=pl.lit("+00:00"),
        CourseID="course",
        TermID="semester",
        AssignmentID="assignment",
        ProblemID="assignment",
        Attempt="order",
        Score=score,
    )
    metadata = {
        "Version": "1.0",
        "IsEventOrderingConsistent": "true",
        "EventOrderScope": "Restricted",
        "EventOrderScopeColumns": "TermID;SubjectID;ProblemID",
        "CodeStateRepresentation": "Table",
        **(properties or {}),
    }
    code.write_csv(states / "CodeStates.csv", quote_style="non_numeric")
    main.write_csv(folder / MAIN_TABLE)
    pl.DataFrame(list(metadata.items()), schema=["Property", "Value"], orient="row").write_csv(
        folder / METADATA[0]
    )

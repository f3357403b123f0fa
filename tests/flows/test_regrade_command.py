"""`tutee regrade`: what it prints and the file it leaves."""

from pathlib import Path

import polars as pl
import pytest

from flows.commands.course import regrade
from flows.places import Places
from tutee_grader.verdict import VERDICTS
from tutee_serializer.schemas import SUBMISSIONS


def test_it_prints_shares_and_writes_the_disagreeing_programs(project, monkeypatch, capsys) -> None:
    monkeypatch.chdir(project.folder)
    places = Places("small", "tiny")
    places.data.mkdir(parents=True)

    def write(rows: dict[str, list], schema: pl.Schema, path: Path) -> None:
        pl.concat([pl.DataFrame(schema=schema), pl.DataFrame(rows)], how="diagonal_relaxed").write_parquet(
            path
        )

    shared = {"assignment": "double", "student": "a pseudonym", "semester": "one", "logged_correct": None}
    write(
        {
            **{name: [value] * 4 for name, value in shared.items()},
            "submission_id": list("abcd"),
            "logged_score": [100.0, 100.0, 50.0, None],
            "code": ["def", "def double(n): return 2 * n", "pass", "pass"],
        },
        SUBMISSIONS,
        places.submissions,
    )
    status = ["does not compile", *["compiles"] * 3]
    write(
        {
            "submission_id": list("abcd"),
            "grade": [0.0, 100.0, 50.0, 0.0],
            "status": status,
            "feedback": status,
        },
        VERDICTS,
        places.verdicts,
    )

    regrade("small")
    said = capsys.readouterr().out
    assert "3 submissions with a score or a label in the log; the grader disagrees with 1 (33.3%)" in said
    assert "2 submissions that the log calls right, of which 1 (50.0%) do not compile" in said
    assert str(places.disagreements) in said
    assert pl.read_csv(places.disagreements).select("submission_id", "code").rows() == [("a", "def")]


def test_before_the_grader_has_run_it_names_the_stage(project, monkeypatch) -> None:
    monkeypatch.chdir(project.folder)
    with pytest.raises(Exception, match="run `tutee ingest` first"):
        regrade("small")

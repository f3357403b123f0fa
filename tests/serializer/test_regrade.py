import csv
from pathlib import Path

import polars as pl
import pytest

from tutee_serializer.ingest.regrade import (
    DISAGREEMENTS,
    disagreements,
    regrade,
    table_text,
    write_disagreements,
)


def graded(
    rows: list[tuple[str, float | None, bool | None, float, str]],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Submissions and verdicts, from (assignment, logged score, logged label, grade, status)."""
    schema = ["assignment", "logged_score", "logged_correct", "grade", "status"]
    table = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        pl.col("logged_score").cast(pl.Float64),
        pl.col("logged_correct").cast(pl.Boolean),
        submission_id=pl.Series(list("abcdefgh"[: len(rows)])),
        student=pl.lit("a pseudonym"),
        semester=pl.lit("one"),
        code=pl.format("x = {}", pl.int_range(pl.len())),
        feedback=pl.lit("1 of 2 tests passed."),
        messages=pl.lit("what nobody asked for"),
    )
    return table.drop("grade", "status", "feedback"), table.select(
        "submission_id", "grade", "status", "feedback"
    )


def test_disagreements_are_counted_by_assignment_and_signed() -> None:
    tables = graded(
        [
            ("one", 50.0, None, 75.0, "compiles"),
            ("one", 100.0, None, 40.0, "compiles"),
            ("one", None, None, 10.0, "compiles"),
            ("two", 33.3, None, 33.333, "compiles"),
            ("two", 0.0, None, 0.0, "compiles"),
        ]
    )
    first, second = regrade(*tables).iter_rows(named=True)
    assert first["assignment"] == "one"
    assert (first["submissions"], first["compared"], first["disagree"]) == (3, 2, 2)
    assert (first["logged_higher"], first["logged_lower"]) == (1, 1)
    assert first["mean_difference"] == pytest.approx((60 - 25) / 2)
    assert (first["disagree_percent"], second["disagree_percent"]) == (100.0, 0.0)
    assert second["disagree"] == 0


def test_a_plain_label_is_compared_with_full_marks() -> None:
    labels = [(True, 100.0), (True, 90.0), (False, 90.0), (False, 100.0)]
    row = regrade(*graded([("one", None, label, grade, "compiles") for label, grade in labels]))
    assert row.select("logged_higher", "logged_lower", "disagree_percent").row(0) == (1, 1, 50.0)


def test_what_the_log_calls_right_and_does_not_compile_is_counted() -> None:
    broken = "does not compile"
    tables = graded(
        [
            ("one", 100.0, None, 0.0, broken),
            ("one", None, True, 0.0, broken),
            ("one", 99.8, None, 100.0, "compiles"),
            ("one", 100.0, True, 0.0, "compiles"),
            ("one", 60.0, None, 0.0, broken),
            ("one", None, False, 0.0, broken),
            ("one", None, None, 0.0, broken),
        ]
    )
    row = regrade(*tables).row(0, named=True)
    assert (row["logged_right"], row["not_compiling"], row["not_compiling_percent"]) == (4, 2, 50.0)


def test_without_a_score_there_is_no_share() -> None:
    table = regrade(*graded([("one", None, None, 0.0, "compiles")]))
    assert table.select("compared", "disagree_percent", "not_compiling_percent").row(0) == (0, None, None)
    assert table_text(table).splitlines()[1].split() == ["one", "1", "0", "0", "0", "0", "0", "0"]


def test_the_disagreeing_programs_are_listed_the_largest_difference_first() -> None:
    tables = graded(
        [
            ("two", 10.0, None, 20.0, "compiles"),
            ("one", 50.0, None, 75.0, "compiles"),
            ("one", 50.0, None, 50.0, "compiles"),
            ("one", None, True, 0.0, "does not compile"),
        ]
    )
    table = disagreements(*tables)
    assert table.columns == list(DISAGREEMENTS)
    shown = table.select("submission_id", "logged", "grade", "difference", "status").rows()
    assert shown == [
        ("d", "right", 0.0, 100.0, "does not compile"),
        ("b", "50.0", 75.0, -25.0, "compiles"),
        ("a", "10.0", 20.0, -10.0, "compiles"),
    ]


@pytest.mark.parametrize(
    ("code", "written"),
    [
        ("x = 1\n", "x = 1\n"),
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@decorated\ndef f(): return -1", "'@decorated\ndef f(): return -1"),
        ("\uff1d1", "'\uff1d1"),
        # Cells of a program that does not take the quotes for quotes.
        ("x = 1\n=2", "x = 1\n'=2"),
        ("x\r+1", "x\r'+1"),
        ('x;"=1', "x;\"'=1"),
        ("x\t@y", "x\t'@y"),
    ],
)
def test_no_cell_is_a_formula_to_a_spreadsheet(tmp_path: Path, code: str, written: str) -> None:
    submissions, verdicts = graded([("one", 100.0, None, 0.0, "compiles")])
    path = tmp_path / "reports" / "disagreements.csv"
    write_disagreements(disagreements(submissions.with_columns(code=pl.lit(code)), verdicts), path)
    with path.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["code"], row["difference"]) == (written, "100.0")

import polars as pl
import pytest

from tutee_serializer.ingest.regrade import regrade


def test_disagreements_are_counted_by_assignment_and_signed() -> None:
    submissions = pl.DataFrame(
        {
            "submission_id": ["a", "b", "c", "d", "e"],
            "assignment": ["one", "one", "one", "two", "two"],
            "logged_score": [50.0, 100.0, None, 33.3, 0.0],
            "logged_correct": pl.Series([None] * 5, dtype=pl.Boolean),
        }
    )
    verdicts = pl.DataFrame({"submission_id": list("abcde"), "grade": [75.0, 40.0, 10.0, 33.333, 0.0]})
    first, second = regrade(submissions, verdicts).iter_rows(named=True)
    assert first["assignment"] == "one"
    assert (first["submissions"], first["compared"], first["disagree"]) == (3, 2, 2)
    assert (first["logged_higher"], first["logged_lower"]) == (1, 1)
    assert first["mean_difference"] == pytest.approx((60 - 25) / 2)
    assert first["example"] == "b"
    assert (second["disagree"], second["example"]) == (0, None)


def test_a_plain_label_is_compared_with_full_marks() -> None:
    submissions = pl.DataFrame(
        {
            "submission_id": list("abcd"),
            "assignment": ["one"] * 4,
            "logged_score": pl.Series([None] * 4, dtype=pl.Float64),
            "logged_correct": [True, True, False, False],
        }
    )
    verdicts = pl.DataFrame({"submission_id": list("abcd"), "grade": [100.0, 90.0, 90.0, 100.0]})
    row = regrade(submissions, verdicts).row(0, named=True)
    assert (row["logged_higher"], row["logged_lower"]) == (1, 1)

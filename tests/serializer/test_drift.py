"""How a semester differs from the one before, and what follows."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from tutee_serializer.course import Course
from tutee_serializer.errors import ValidationError
from tutee_serializer.ingest.account import RowAccount
from tutee_serializer.ingest.drift import (
    DRIFT,
    WARNINGS,
    Measure,
    drift_checks,
    drift_table,
    validate_errors,
    with_errors,
)
from tutee_serializer.schemas import MESSAGE


def test_drift_is_measured_against_the_semester_before() -> None:
    rows = {
        "semester": ["one"] * 4 + ["two"] * 2,
        "student": ["a", "a", "b", "b", "c", "d"],
        "assignment": ["double"] * 5 + ["half"],
        "logged_score": [0.0, 50.0, 100.0, 50.0, 100.0, 100.0],
        "logged_correct": [None] * 6,
        "code": ["12"] * 4 + ["123"] * 2,
        "messages": [[]] * 3 + [[{"text": "Look at line 2."}]] + [[]] * 2,
    }
    schema = {"logged_correct": pl.Boolean}
    drift = drift_table(pl.LazyFrame(rows, schema_overrides=schema), ["one", "two"]).row(0, named=True)
    assert drift["submissions_per_student"] == pytest.approx(-0.5)
    assert drift["mean_score"] == pytest.approx(1.0)
    # Three of four scores of the first semester are below 100, none of the second.
    assert drift["distance_of_scores"] == pytest.approx(0.75)
    assert drift["median_code_length"] == pytest.approx(0.5)
    assert drift["share_with_messages"] == pytest.approx(-0.25)
    assert (drift["new_assignments"], drift["added"]) == (pytest.approx(0.5), ["half"])


def test_an_assignment_that_comes_back_after_a_semester_is_not_new() -> None:
    rows = [("one", "double"), ("one", "half"), ("two", "double"), ("three", "half"), ("three", "third")]
    table = pl.DataFrame(rows, schema=["semester", "assignment"], orient="row").with_columns(
        student=pl.lit("a"),
        code=pl.lit("1"),
        messages=pl.lit([], pl.List(MESSAGE)),
        logged_score=pl.lit(None, pl.Float64),
        logged_correct=pl.lit(None, pl.Boolean),
    )
    assert drift_table(table.lazy(), ["one", "two", "three"])["added"].to_list() == [[], ["third"]]


def test_words_of_messages_are_new_where_no_semester_before_has_them() -> None:
    said = {"one": ["Look at line 2."], "two": [], "three": ["look AT your loop", "line?"], "four": ["loop"]}
    table = pl.DataFrame(
        [
            (semester, [{"author": "tutor", "sent_at": None, "text": text} for text in texts])
            for semester, texts in said.items()
        ],
        schema={"semester": pl.String, "messages": pl.List(MESSAGE)},
        orient="row",
    ).with_columns(
        student=pl.lit("a"),
        assignment=pl.lit("double"),
        code=pl.lit("1"),
        logged_score=pl.lit(None, pl.Float64),
        logged_correct=pl.lit(None, pl.Boolean),
    )
    drift = drift_table(table.lazy(), list(said))
    # Of look, at, your, loop, line two are new in the third semester, and none in the fourth.
    assert drift["new_words_in_messages"].to_list() == [None, pytest.approx(0.4), 0.0]


def graded(*kinds: tuple[str, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Submissions and verdicts of these semesters and outcomes."""
    ids = [f"s{number}" for number in range(len(kinds))]
    submissions = pl.DataFrame({"submission_id": ids, "semester": [semester for semester, _ in kinds]})
    rows = [
        {
            "submission_id": identity,
            "grade": 100.0 if outcome == "passed" else 0.0,
            "status": "compiles",
            "tests": [{"name": "1", "outcome": outcome, "message": ""}],
        }
        for identity, (_, outcome) in zip(ids, kinds, strict=True)
    ]
    return submissions, pl.DataFrame(rows)


def drift_of(*semesters: str) -> pl.DataFrame:
    rows = [{"semester": now, "before": before} for before, now in pairwise(semesters)]
    return pl.DataFrame(rows, schema=DRIFT)


def test_kinds_of_error_are_compared_whatever_the_share_of_solved_programs() -> None:
    one = [("one", kind) for kind in ("failed", "failed", "failed", "timeout", "passed")]
    two = [("two", kind) for kind in ("failed", "timeout", *["passed"] * 9)]
    drift = with_errors(drift_of("one", "two", "three"), *graded(*one, *two, ("three", "passed")))
    # 3/4 wrong results and 1/4 timeouts, then half and half; the third semester has no error.
    assert drift["distance_of_errors"].to_list() == [pytest.approx(0.25), None]


def test_drift_of_errors_is_a_warning_or_stops_the_run(
    small_course: Callable[..., Course],
    write_ingested: Callable[..., RowAccount],
    good_log: str,
    tmp_path: Path,
) -> None:
    ingested = write_ingested(small_course(good_log), tmp_path)
    assert [row["before"] for row in ingested.drift] == ["one"]
    account = replace(ingested, drift=drift_of("one", "two").to_dicts())
    tables = graded(("one", "failed"), ("two", "timeout"))
    assert validate_errors(account, *tables, {"distance_of_errors": 1.0}, {}) == []
    (warning,) = validate_errors(account, *tables, {}, {})
    assert warning == "drift: distance_of_errors of two against one (warning): +1.00, beyond 0.3"
    with pytest.raises(ValidationError, match=r"raise `max_drift: \{distance_of_errors: 0.5\}`"):
        validate_errors(account, *tables, {}, {"distance_of_errors": 0.5})


def test_drift_of_the_newest_semester_can_stop_the_run_and_that_of_older_ones_cannot() -> None:
    drift = pl.DataFrame(
        {
            "semester": ["two", "three"],
            "before": ["one", "two"],
            **{name: [0.0, 0.0] for name in WARNINGS},
            "mean_score": [-0.9, 0.6],
            "new_assignments": [0.0, 0.25],
            "added": [[], ["half", "third"]],
        }
    )

    def failed(stop: dict[Measure, float]) -> list[str]:
        checks = drift_checks(drift, {"mean_score": 0.5}, stop)
        return [str(check) for check in checks if not check.passed]

    older, newest, new = failed({"mean_score": 0.55})
    assert older == "drift: mean_score of two against one (warning): -0.90, beyond 0.5"
    assert newest.startswith("drift: mean_score of three against two (error): +0.60, beyond 0.55; ")
    assert "raise `max_drift: {mean_score: 0.55}` in section `ingest` of params.yaml" in newest
    assert new.endswith("(warning): +0.25, beyond 0, for half, third")
    assert [one for one in failed({"mean_score": 0.7}) if "(error)" in one] == []


def test_a_drift_beyond_its_threshold_stops_ingest(
    small_course: Callable[..., Course],
    write_ingested: Callable[..., RowAccount],
    good_log: str,
    tmp_path: Path,
) -> None:
    more = good_log + "".join(f"student-{n},double,two,3,,100,print(3)\n" for n in range(4))
    account = write_ingested(small_course(more), tmp_path, warn_drift={"submissions_per_student": 0.4})
    assert ["submissions_per_student of two" in one for one in account.warnings] == [True]
    with pytest.raises(ValidationError, match="submissions_per_student of two against one") as caught:
        write_ingested(small_course(more), tmp_path, max_drift={"submissions_per_student": 0.4})
    assert caught.value.exit_code == 2

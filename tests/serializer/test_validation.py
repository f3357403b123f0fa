import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tutee_serializer.course import Course
from tutee_serializer.errors import ValidationError
from tutee_serializer.ingest.account import RowAccount
from tutee_serializer.ingest.drift import WARNINGS, Measure, drift_checks, drift_table
from tutee_serializer.ingest.ingest import IngestConfig, parse_log
from tutee_serializer.ingest.validation import check, new_context
from tutee_serializer.schemas import MESSAGE

KEY = b"a key only for tests"

HEADER = "student,assignment,semester,attempt,time,score,code\n"
LOG = HEADER + "".join(
    f"student-{number},double,{semester},{attempt},,{50 * attempt},print({attempt})\n"
    for semester in ("one", "two")
    for number in range(4)
    for attempt in (1, 2)
)


@pytest.fixture
def checked(small_course: Callable[..., Course], tmp_path: Path) -> Callable[..., list[str]]:
    """Checks a good log after `change`; returns the expectations that failed."""

    def run(change: Callable[[pl.DataFrame], pl.DataFrame]) -> list[str]:
        course = small_course(LOG)
        result = parse_log(course, IngestConfig(), KEY)
        context = new_context(tmp_path)
        table = change(result.submissions)
        checks = check(context, table, course, result.roles, result.account, 0.2)
        checks += drift_checks(drift_table(table, result.roles.used), {}, {})
        return [str(check) for check in checks if not check.passed]

    return run


def test_good_submissions_pass(checked: Callable[..., list[str]]) -> None:
    assert checked(lambda table: table) == []


@pytest.mark.parametrize(
    ("change", "expectation"),
    [
        (lambda t: t.with_columns(submission_id=pl.lit("same")), "expect column values to be unique"),
        (lambda t: t.with_columns(order=pl.lit(1, pl.Int64)), "expect compound columns to be unique"),
        (lambda t: t.with_columns(assignment=pl.lit("treble")), "expect column values to be in set"),
        (lambda t: t.with_columns(logged_score=pl.lit(101.0)), "expect column values to be between"),
        (lambda t: t.with_columns(student=pl.lit(None, pl.String)), "expect column values to not be null"),
        (lambda t: t.filter(semester="one"), "expect column distinct values to contain set"),
        (lambda t: t.with_columns(pl.col("order").cast(pl.Int32)), "expect column pair values to be in set"),
        (lambda t: t.with_columns(gender=pl.lit("")), "expect table row count to equal"),
    ],
)
def test_what_must_not_be_is_an_error(
    checked: Callable[..., list[str]], change: Callable[[pl.DataFrame], pl.DataFrame], expectation: str
) -> None:
    failed = checked(change)
    assert any(f"{expectation} [" in one and "(error)" in one for one in failed)


def test_an_error_shows_rows_by_their_number(checked: Callable[..., list[str]]) -> None:
    def spoil(table: pl.DataFrame) -> pl.DataFrame:
        bad = pl.col("source_row") == 7
        return table.with_columns(pl.when(bad).then(500.0).otherwise("logged_score").alias("logged_score"))

    failed = checked(spoil)
    assert any("'source_row': 7" in one for one in failed)


def test_a_semester_unlike_the_one_before_is_a_warning(checked: Callable[..., list[str]]) -> None:
    later = pl.col("semester") == "two"
    warnings = checked(
        lambda t: t.with_columns(
            pl.when(later).then(pl.col("code") + " " * 100).otherwise("code").alias("code")
        )
    )
    assert len(warnings) == 1
    assert "median_code_length of two against one" in warnings[0]


def test_clocks_that_run_backwards_are_a_warning(checked: Callable[..., list[str]]) -> None:
    start = datetime(2024, 10, 1, tzinfo=UTC)
    (warning,) = checked(lambda t: t.with_columns(submitted_at=pl.lit(start) - pl.duration(days="order")))
    assert "clock runs backwards" in warning
    assert "(warning)" in warning


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
    drift = drift_table(pl.DataFrame(rows, schema_overrides=schema), ["one", "two"]).row(0, named=True)
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
    assert drift_table(table, ["one", "two", "three"])["added"].to_list() == [[], ["third"]]


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
    small_course: Callable[..., Course], write_ingested: Callable[..., RowAccount], tmp_path: Path
) -> None:
    more = LOG + "".join(f"student-{n},double,two,3,,100,print(3)\n" for n in range(4))
    account = write_ingested(small_course(more), tmp_path, warn_drift={"submissions_per_student": 0.4})
    assert ["submissions_per_student of two" in one for one in account.warnings] == [True]
    with pytest.raises(ValidationError, match="submissions_per_student of two against one") as caught:
        write_ingested(small_course(more), tmp_path, max_drift={"submissions_per_student": 0.4})
    assert caught.value.exit_code == 2


def test_too_much_quarantine_stops_the_run(
    small_course: Callable[..., Course], write_ingested: Callable[..., RowAccount], tmp_path: Path
) -> None:
    log = LOG + "x,double,one,1,,,\n" * 1 + "y,double,one,1,,,\n" * 1
    write_ingested(small_course(log), tmp_path, max_quarantined=0.2)
    with pytest.raises(ValidationError, match="share of rows in quarantine") as caught:
        write_ingested(small_course(log), tmp_path, max_quarantined=0.1)
    assert caught.value.exit_code == 2


def test_data_docs_ask_nothing_of_the_network_and_show_the_row_account(
    small_course: Callable[..., Course], write_ingested: Callable[..., RowAccount], tmp_path: Path
) -> None:
    write_ingested(small_course(LOG + "x,double,one,1,,,\n"), tmp_path)
    pages = sorted((tmp_path / "data_docs").rglob("*.html"))
    assert len(pages) >= 5
    for page in pages:
        loaded = re.findall(r"<(?:link|script|img)\b[^>]*(?:href|src)=[^>]*>", page.read_text())
        assert loaded == [], page
    index = ((tmp_path / "data_docs") / "index.html").read_text()
    assert "a synthetic course" in index
    assert "blank code" in index
    assert "semesters: train one; test two" in index
    drift = index[index.index("Each semester against the one before") :]
    assert "<th>median code length</th>" in drift
    assert "<td>two</td><td>one</td><td>+0.00</td>" in drift
    for link in re.findall(r'<a href="([^"]+)"', index):
        assert ((tmp_path / "data_docs") / link).exists()
    assert RowAccount.load(tmp_path / "account.json").rows("in") == 17

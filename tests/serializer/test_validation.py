import re
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tutee_serializer.course import Course
from tutee_serializer.errors import ValidationError
from tutee_serializer.ingest.account import RowAccount
from tutee_serializer.ingest.drift import drift_checks, drift_table
from tutee_serializer.ingest.ingest import SCRATCH, IngestConfig, parse_log
from tutee_serializer.ingest.validation import check, new_context

KEY = b"a key only for tests"


@pytest.fixture
def checked(small_course: Callable[..., Course], good_log: str, tmp_path: Path) -> Callable[..., list[str]]:
    """Checks a good log after `change`; returns the expectations that failed."""

    def run(change: Callable[[pl.DataFrame], pl.DataFrame]) -> list[str]:
        course = small_course(good_log)
        result = parse_log(course, IngestConfig(), KEY)
        context = new_context(tmp_path)
        table = change(result.submissions)
        checks = check(context, table.lazy(), course, result.roles, result.account, 0.2)
        checks += drift_checks(drift_table(table.lazy(), result.roles.used), {}, {})
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


def test_too_much_quarantine_stops_the_run(
    small_course: Callable[..., Course],
    write_ingested: Callable[..., RowAccount],
    good_log: str,
    tmp_path: Path,
) -> None:
    log = good_log + "x,double,one,1,,,\n" * 1 + "y,double,one,1,,,\n" * 1
    write_ingested(small_course(log), tmp_path, max_quarantined=0.2)
    with pytest.raises(ValidationError, match="share of rows in quarantine") as caught:
        write_ingested(small_course(log), tmp_path, max_quarantined=0.1)
    assert caught.value.exit_code == 2


def test_data_docs_ask_nothing_of_the_network_and_show_the_row_account(
    small_course: Callable[..., Course],
    write_ingested: Callable[..., RowAccount],
    good_log: str,
    tmp_path: Path,
) -> None:
    write_ingested(small_course(good_log + "x,double,one,1,,,\n"), tmp_path)
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


def test_ingest_keeps_temporary_files_beside_its_tables_alone(
    small_course: Callable[..., Course],
    write_ingested: Callable[..., RowAccount],
    good_log: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the next one finds what a killed one has left: there is no other folder for them here."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    course = small_course(good_log)
    monkeypatch.chdir(tmp_path)
    write_ingested(course, Path("data"))
    assert not list(Path("data").glob(SCRATCH))

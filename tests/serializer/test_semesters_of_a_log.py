"""How the semesters of a log are named, which are left out, and what is said of them."""

import gzip
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tutee_serializer.course import Course
from tutee_serializer.errors import CourseError, LogError
from tutee_serializer.ingest.account import RowAccount
from tutee_serializer.ingest.ingest import IngestConfig, IngestResult, parse_log
from tutee_serializer.ingest.preview import preview
from tutee_serializer.logs.export import export_progsnap

KEY = b"a key only for tests"
HEADER = "student,assignment,semester,attempt,time,score,code\n"
NO_TERM = "student,assignment,attempt,time,code\n"
COLUMNS = {"student": "student", "assignment": "assignment", "code": "code", "timestamp": "time"}
LATEST = {"train": "all", "test": "latest"}

SmallCourse = Callable[..., Course]


def rows(*semesters: str) -> str:
    """Two submissions in each semester, the first of 2023."""
    return HEADER + "".join(
        f"student-{number},double,{semester},{attempt},{2023 + number}-10-0{attempt}T10:00:00Z,,print()\n"
        for number, semester in enumerate(semesters)
        for attempt in (1, 2)
    )


def untermed(*times: str) -> str:
    return NO_TERM + "".join(
        f"student-{number},double,1,{time},print({number})\n" for number, time in enumerate(times)
    )


def parsed(course: Course) -> IngestResult:
    return parse_log(course, IngestConfig(), KEY)


def filters(result: IngestResult) -> dict[str, int]:
    return {step.step: step.rows for step in result.account.flow if step.kind == "filter"}


def semesters(result: IngestResult) -> list[str]:
    return result.submissions["semester"].to_list()


def test_semesters_in_no_list_are_left_out_by_name_with_their_rows(small_course: SmallCourse) -> None:
    log = rows("one", "two", "three")
    result = parsed(small_course(log + log.splitlines(keepends=True)[-1]))
    assert filters(result) == {"semester neither train nor test": 2, "duplicate row": 1}
    _, said = result.account.semesters
    assert said == (
        "semester three is left out with 2 rows: `semesters` does not name it; "
        "`semesters: {train: all, test: latest}` takes in every one"
    )
    assert said in preview(small_course(rows("one", "two", "three")), result)


def test_rows_of_semesters_in_no_list_are_never_quarantined(small_course: SmallCourse) -> None:
    log = rows("one", "two") + "student-9,treble,three,1,,,print()\n" * 1
    result = parsed(small_course(log))
    assert filters(result) == {"semester neither train nor test": 1}
    assert result.quarantine.is_empty()


def test_what_lies_before_the_window_is_left_out(small_course: SmallCourse) -> None:
    result = parsed(small_course(rows("2", "9", "10", "11"), semesters={"train": 2, "test": "latest"}))
    assert result.account.semesters == [
        "semesters: train 9, 10 (up to 2 before); test 11 (the latest)",
        "semester 2 is left out with 2 rows: it is neither test nor in the window of `semesters: {train: 2}`",
    ]


def test_a_new_semester_of_which_no_row_can_be_used_is_named(small_course: SmallCourse) -> None:
    log = rows("one", "two") + "student-9,treble,three,1,,,print()\n"
    result = parsed(small_course(log, semesters=LATEST))
    assert result.roles.test == ["two"]
    assert "semester three is left out: not one of its 1 rows can be used" in result.account.semesters


def test_ids_in_the_semesters_column_are_masked(small_course: SmallCourse) -> None:
    result = parsed(small_course(rows("one", "two") + "mara-0001,double,mara-0001,1,,,print()\n"))
    assert "mara-0001" not in str(result.account)
    assert "is left out with 1 rows" in str(result.account)


def test_an_empty_test_semester_stops_ingest_and_is_said_by_preview(
    small_course: SmallCourse, write_ingested: Callable[..., RowAccount], tmp_path: Path
) -> None:
    course = small_course(rows("one", "two"), semesters={"train": ["one"], "test": ["three"]})
    expected = "no submission is of `semesters.test` three; the log has submissions of one (2)"
    assert expected in preview(course, parsed(course))
    with pytest.raises(LogError) as caught:
        write_ingested(course, tmp_path)
    assert expected in str(caught.value)
    assert "semester two is left out with 2 rows" in str(caught.value)


@pytest.mark.parametrize(("naming", "place"), [("file_name", "{}.csv.gz"), ("folder", "{}/log.csv")])
def test_files_or_folders_may_name_the_semesters(
    small_course: SmallCourse, naming: str, place: str, tmp_path: Path
) -> None:
    for number, semester in enumerate(("2024.9", "2024.10")):
        file = tmp_path / "course" / "logs" / place.format(semester)
        file.parent.mkdir(parents=True, exist_ok=True)
        log = untermed(*[f"2024-0{number + 1}-01"] * 2).encode()
        file.write_bytes(gzip.compress(log) if file.suffix == ".gz" else log)
    course = small_course(logs={"path": "logs", "semester": naming}, columns=COLUMNS, semesters=LATEST)
    result = parsed(course)
    assert sorted(semesters(result)) == ["2024.10", "2024.10", "2024.9", "2024.9"]
    assert result.roles.test == ["2024.10"]


def test_start_dates_may_name_the_semesters_and_earlier_rows_are_left_out(small_course: SmallCourse) -> None:
    times = (
        "2024-08-31T21:59:59Z",  # the last second before September in Dublin's summer is 22:59:59 UTC
        "2024-08-31T23:00:00Z",
        "2025-01-31T23:59:59Z",
        "2025-02-01T00:00:00Z",
        "1962-01-01T00:00:00Z",
        "yesterday",
        "",
    )
    starts = {"spring": "2025-02-01", "autumn": "2024-09-01"}
    logs = {"path": "log.csv", "semester": starts, "timezone": "Europe/Dublin"}
    result = parsed(small_course(untermed(*times), logs=logs, columns=COLUMNS, semesters=LATEST))
    assert sorted(result.submissions.select("source_row", "semester").rows()) == [
        (2, "autumn"),
        (3, "autumn"),
        (4, "spring"),
    ]
    assert filters(result) == {"before the first semester": 1}
    assert sorted(result.quarantine.select("source_row", "reason").rows()) == [
        (5, "impossible time"),
        (6, "unreadable time"),
        (7, "no time"),
    ]


def test_a_row_without_time_has_no_semester_by_date_though_attempts_order_it(
    small_course: SmallCourse,
) -> None:
    logs = {"path": "log.csv", "semester": {"one": "2020-01-01"}}
    columns = {**COLUMNS, "attempt": "attempt"}
    result = parsed(small_course(untermed("2021-01-01", ""), logs=logs, columns=columns, semesters=LATEST))
    assert result.quarantine["reason"].to_list() == ["no time"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"logs": {"path": "log.csv", "semester": "file"}}, "`logs.semester`: write file_name, folder"),
        (
            {"logs": {"path": "log.csv", "semester": {"a": "soon"}}},
            "`logs.semester`: write file_name, folder",
        ),
        (
            {"logs": {"path": "log.csv", "semester": {"a": "2024-01-01", "b": "2024-01-01"}}},
            "a start date of its own",
        ),
        (
            {"logs": {"path": {"one": "log.csv"}, "semester": "folder"}},
            "`path` names a semester for each path",
        ),
        ({"logs": {"path": "log.csv", "semester": "folder"}}, "`logs.semester` names the semesters too"),
        ({"columns": COLUMNS}, "`semester` is missing: name a column, or let `logs.semester` say it"),
        (
            {
                "columns": {**COLUMNS, "timestamp": None, "attempt": "attempt"},
                "semesters": {"split": "time", "test": 0.2},
            },
            "`timestamp` is missing, and `semesters.split: time` needs it",
        ),
    ],
)
def test_a_naming_that_cannot_be_is_refused(
    course_file: Callable[..., Path], changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(CourseError) as caught:
        Course.load(course_file(**changes))
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_log_without_terms_has_one_semester_called_like_the_course(small_course: SmallCourse) -> None:
    by_student = {"split": "students", "test": 0.5}
    result = parsed(small_course(untermed("2024-10-01", "2024-10-02"), columns=COLUMNS, semesters=by_student))
    assert semesters(result) == ["small", "small"]
    assert result.account.semesters == [
        "semesters: one, small: split by student, 50% of 2 students for testing"
    ]


def test_a_course_with_one_semester_is_told_how_to_split_it(small_course: SmallCourse) -> None:
    (problem,) = parsed(small_course(rows("one"), semesters=LATEST)).roles.problems()
    assert "`semesters: {split: students, test: 0.2}`" in problem


def test_the_cut_by_time_is_said(small_course: SmallCourse) -> None:
    times = [f"2024-10-0{day}" for day in range(1, 6)]
    course = small_course(untermed(*times), columns=COLUMNS, semesters={"split": "time", "test": 0.4})
    result = parsed(course)
    assert result.roles.cut == datetime(2024, 10, 4, tzinfo=UTC)
    assert "the 40% of trajectories that begin at 2024-10-04 00:00:00 UTC or later" in str(result.account)


def test_a_file_among_the_logs_that_is_no_table_is_named(
    small_course: SmallCourse, write_ingested: Callable[..., RowAccount], tmp_path: Path
) -> None:
    logs = tmp_path / "course" / "logs"
    logs.mkdir(parents=True)
    (logs / "log.csv").write_text(rows("one", "two"))
    (logs / "2025.xlsx").write_bytes(b"PK")
    account = write_ingested(small_course(logs={"path": "logs"}), tmp_path)
    assert [count for note, count in account.notes.items() if "2025.xlsx" in note] == [1]


@pytest.fixture
def snaps(small_course: SmallCourse, tmp_path: Path) -> Callable[..., IngestResult]:
    """Reads two ProgSnap2 data sets without TermID, one of them a zip, as a course's log."""

    def read(**changes: Any) -> IngestResult:
        exported = parsed(small_course(rows("one", "two"))).submissions
        place = tmp_path / "course" / "snaps"
        for semester, name in (("one", "2024-autumn"), ("two", "2025-autumn")):
            folder = place / name
            export_progsnap(exported.filter(semester=semester), folder)
            main = folder / "MainTable.csv"
            pl.read_csv(main, infer_schema=False).drop("TermID").write_csv(main)
        with zipfile.ZipFile(place / "2026-autumn.zip", "w") as archive:
            for file in (place / "2025-autumn").rglob("*"):
                archive.write(file, file.relative_to(place / "2025-autumn"))
        logs = {"path": "snaps", "format": "progsnap2", **changes.pop("logs", {})}
        return parsed(small_course(rows("one"), logs=logs, columns=None, **changes))

    return read


def test_data_sets_of_progsnap_name_their_semesters(snaps: Callable[..., IngestResult]) -> None:
    result = snaps(logs={"semester": "file_name"}, semesters=LATEST)
    assert sorted(set(semesters(result))) == ["2024-autumn", "2025-autumn", "2026-autumn"]


def test_progsnap_without_terms_is_split_within_one_semester(snaps: Callable[..., IngestResult]) -> None:
    assert set(semesters(snaps(semesters={"split": "time", "test": 0.5}))) == {"small"}


def test_progsnap_by_date(snaps: Callable[..., IngestResult]) -> None:
    starts = {"first": "2023-09-01", "second": "2024-09-01"}
    result = snaps(logs={"semester": starts}, semesters=LATEST)
    assert set(semesters(result)) == {"first", "second"}


def test_progsnap_without_terms_says_what_to_write(snaps: Callable[..., IngestResult]) -> None:
    with pytest.raises(LogError, match=r"no column 'TermID'.*`logs\.semester`.*split: students"):
        snaps(semesters=LATEST)

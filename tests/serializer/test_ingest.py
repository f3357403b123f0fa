"""Each test feeds a small log with one kind of trouble through `parse_log` and asks where its rows went."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from tutee_serializer.course import Course
from tutee_serializer.errors import LogError
from tutee_serializer.ingest.ingest import IngestConfig, IngestResult, parse_log

KEY = b"a key only for tests"
HEADER = "student,assignment,semester,attempt,time,score,code\n"
GOOD = 'mara-0001,double,one,1,2024-10-01T10:00:00Z,50,"def double(n):\n    return n"\n'
TEXT = "def double(n):\n    return n"

Read = Callable[..., IngestResult]


@pytest.fixture
def read(small_course: Callable[..., Course], tmp_path: Path) -> Read:
    def run(
        log: str | bytes, log_name: str = "log.csv", config: IngestConfig | None = None, **changes: Any
    ) -> IngestResult:
        course = small_course(log, log_name, **changes)
        return parse_log(course, config or IngestConfig(), KEY)

    return run


def reasons(result: IngestResult) -> list[tuple[int, str]]:
    return sorted(result.quarantine.select("source_row", "reason").iter_rows())


def filters(result: IngestResult) -> dict[str, int]:
    return {step.step: step.rows for step in result.account.flow if step.kind == "filter"}


def test_a_good_row_becomes_a_submission(read: Read) -> None:
    row = read(HEADER + GOOD).submissions.row(0, named=True)
    assert row["code"] == TEXT
    assert (row["order"], row["logged_score"], row["source_row"]) == (1, 50.0, 1)
    assert row["submitted_at"] == datetime(2024, 10, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("mara-0001,double,one,2,,,", "blank code"),
        ('mara-0001,double,one,2,,," \n"', "blank code"),
        ("mara-0001,treble,one,2,,,pass", "unknown assignment"),
        (",double,one,2,,,pass", "no student"),
        ("mara-0001,,one,2,,,pass", "no assignment"),
        ("mara-0001,double,,2,,,pass", "no semester"),
        ("mara-0001,double,one,2,,140,pass", "impossible score"),
        ("mara-0001,double,one,2,,-5,pass", "impossible score"),
        ("mara-0001,double,one,2,,inf,pass", "score is not a number"),
        ("mara-0001,double,one,2,,good,pass", "score is not a number"),
        ("mara-0001,double,one,two,,,pass", "attempt is not a whole number"),
        ("mara-0001,double,one,,,,pass", "no attempt number"),
        ("mara-0001,double,one,2,yesterday,,pass", "unreadable time"),
        ("mara-0001,double,one,2,1962-01-01T00:00:00Z,,pass", "impossible time"),
        ("mara-0001,double,one,2,2162-01-01T00:00:00Z,,pass", "impossible time"),
        ("mara-0001,double,one,2,,,a\0b", "a NUL in the code"),
        ("mara-0001,double,one", "the row has another number of fields than the header"),
    ],
)
def test_a_bad_row_goes_to_quarantine_with_its_number_and_reason(read: Read, row: str, reason: str) -> None:
    result = read(HEADER + GOOD + row + "\n" + GOOD.replace("one,1", "one,3"))
    assert reasons(result) == [(2, reason)]
    assert result.submissions["source_row"].to_list() == [1, 3]


def test_every_row_is_accounted_for(read: Read) -> None:
    log = (
        HEADER
        + GOOD
        + GOOD
        + "x" * 9
        + ",double,three,1,,,pass\n"
        + "short\n"
        + "mara-0001,double,one,2,,,\n"
    )
    result = read(log)
    assert result.account.rows("in") == 5
    assert result.account.rows("kept") == result.submissions.height == 1
    assert result.account.rows("quarantine") == result.quarantine.height == 2
    assert filters(result) == {"duplicate row": 1, "semester neither train nor test": 1}


def test_an_account_that_does_not_add_up_is_a_bug(read: Read) -> None:
    account = read(HEADER + GOOD).account
    account.flow.pop()
    with pytest.raises(AssertionError, match="1 rows in, 0 accounted for"):
        account.check()


def test_the_same_row_twice_is_left_out_once_and_a_resubmission_stays(read: Read) -> None:
    again = GOOD.replace("one,1", "one,2")
    result = read(HEADER + GOOD + GOOD + again)
    assert result.submissions["source_row"].to_list() == [1, 3]
    assert filters(result) == {"duplicate row": 1}


def test_a_row_id_used_again_for_another_row_goes_to_quarantine(read: Read) -> None:
    rows = "".join(f"1,mara-0001,double,one,{attempt},pass\n" for attempt in (1, 2))
    log = "id,student,assignment,semester,attempt,code\n" + rows
    columns = {"row": "id"} | {n: n for n in ("student", "assignment", "semester", "attempt", "code")}
    assert reasons(read(log, columns=columns)) == [(2, "row id used before")]


def test_a_submission_of_five_megabytes_goes_to_quarantine_and_shows_its_size(read: Read) -> None:
    code = "x = 1\n" * 900_000
    result = read(HEADER + GOOD + f'mara-0001,double,one,2,,,"{code}"\n')
    assert reasons(result) == [(2, "code longer than 65,536 bytes")]
    assert result.quarantine["value"].to_list() == [f"{len(code)} bytes"]


def test_three_forms_of_time_are_one_moment(read: Read) -> None:
    forms = [
        "2024-10-01T12:30:00+02:00",
        "2024-10-01 10:30:00Z",
        "1727778600",
        "1727778600000",
        "2024-10-01T10:30",
    ]
    rows = "".join(f"mara-0001,double,one,{n},{form},,pass\n" for n, form in enumerate(forms))
    times = read(HEADER + rows).submissions["submitted_at"]
    assert times.unique().to_list() == [datetime(2024, 10, 1, 10, 30, tzinfo=UTC)]
    assert len(times) == 5


def test_times_without_a_zone_are_read_in_the_zone_of_the_course(read: Read) -> None:
    log = (
        HEADER
        + "mara-0001,double,one,1,01.07.2024 12:00,,pass\nmara-0001,double,one,2,2024-12-01 12:00:00,,pass\n"
    )
    logs = {"path": "log.csv", "timezone": "Europe/Helsinki", "time_formats": ["%d.%m.%Y %H:%M"]}
    assert read(log, logs=logs).submissions["submitted_at"].to_list() == [
        datetime(2024, 7, 1, 9, tzinfo=UTC),
        datetime(2024, 12, 1, 10, tzinfo=UTC),
    ]


def test_without_times_attempts_order_the_work(read: Read) -> None:
    rows = "".join(f"mara-0001,double,one,{n},,,print({n})\n" for n in (10, 9, 2))
    result = read(HEADER + rows)
    assert result.submissions["code"].to_list() == ["print(2)", "print(9)", "print(10)"]
    assert result.submissions["order"].to_list() == [1, 2, 3]


def test_in_a_log_in_the_order_of_time_a_wrong_clock_keeps_its_place_and_is_counted(read: Read) -> None:
    columns = {"student": "student", "assignment": "assignment", "semester": "semester", "code": "code"}
    times = [f"2024-10-{day:02}T10:00:00Z" for day in range(1, 31)]
    times[20] = "2024-10-03T10:00:00Z"
    rows = "".join(f"mara-0001,double,one,0,{time},,print({n})\n" for n, time in enumerate(times))
    result = read(HEADER + rows, columns=columns | {"timestamp": "time"})
    assert result.submissions["code"].to_list() == [f"print({n})" for n in range(30)]
    assert list(result.account.notes.values()) == [1]


def test_a_column_renamed_since_last_semester_is_named_with_the_columns_there_are(
    small_course: Callable[..., Course], tmp_path: Path
) -> None:
    course = small_course(HEADER.replace("assignment", "assignment_id") + GOOD)
    with pytest.raises(LogError) as caught:
        parse_log(course, IngestConfig(), KEY)
    message = str(caught.value)
    assert "`columns.assignment`: log.csv has no column 'assignment'" in message
    assert "assignment: [assignment, assignment_id]" in message
    assert "columns found in log.csv: student, assignment_id, semester" in message
    assert caught.value.exit_code == 2


def test_a_column_may_have_one_name_in_each_file(course_file: Callable[..., Path], tmp_path: Path) -> None:
    columns = {n: n for n in ("student", "assignment", "attempt")} | {"code": ["code", "source"]}
    course_file(HEADER.replace("code", "source") + GOOD, "two.csv")
    paths = {"path": {"one": "log.csv", "two": "two.csv"}}
    course = Course.load(course_file(HEADER + GOOD, "log.csv", logs=paths, columns=columns))
    result = parse_log(course, IngestConfig(), KEY)
    assert sorted(result.submissions["semester"]) == ["one", "two"]
    assert result.submissions["code"].to_list() == [TEXT, TEXT]


def test_an_empty_log_is_refused(read: Read) -> None:
    for log in (b"", HEADER.encode(), b"\n"):
        with pytest.raises(LogError, match=r"log\.csv: the log holds no row"):
            read(log)


def test_a_log_whose_every_row_is_bad_is_refused_with_the_reasons(read: Read) -> None:
    with pytest.raises(LogError, match=r"not one row of 2 can be used:\n  2 x blank code") as caught:
        read(HEADER + "mara-0001,double,one,1,,,\nmara-0001,double,one,2,,,\n")
    assert caught.value.exit_code == 2


def test_a_gzip_that_was_cut_short_is_refused_by_name(read: Read) -> None:
    packed = gzip.compress((HEADER + GOOD * 50).encode())
    with pytest.raises(LogError, match=r"log\.csv\.gz: damaged or cut short"):
        read(packed[: len(packed) // 2], "log.csv.gz", logs={"path": "log.csv.gz"})


def test_a_table_cut_short_inside_quotes_loses_no_row(read: Read) -> None:
    result = read(HEADER + GOOD + 'mara-0001,double,one,2,,,"def dou')
    assert reasons(result) == [(2, "cut short: the file ends inside quotes")]


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("folder/log.csv", content)
    return buffer.getvalue()


def in_parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(rows).with_columns(pl.col("time").str.to_datetime(time_zone="UTC")).write_parquet(buffer)
    return buffer.getvalue()


ROW = {"student": "mara-0001", "assignment": "double", "semester": "one", "attempt": 1}
ROW |= {"time": "2024-10-01T10:00:00Z", "score": 50, "code": TEXT}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.csv.gz", gzip.compress((HEADER + GOOD).encode())),
        ("log.csv.zst", pa.compress((HEADER + GOOD).encode(), "zstd", asbytes=True)),
        ("log.zip", zipped((HEADER + GOOD).encode())),
        ("log.tsv", (HEADER + GOOD).replace(",", "\t").encode()),
        ("semicolons.csv", (HEADER + GOOD).replace(",", ";").encode()),
        ("log.jsonl", json.dumps(ROW).encode() + b"\n"),
        ("log.parquet", in_parquet([ROW])),
        ("bom.csv", b"\xef\xbb\xbf" + (HEADER + GOOD).encode()),
        ("wide.csv", (HEADER + GOOD).encode("utf-16")),
        ("windows.csv", (HEADER + GOOD).replace("\n", "\r\n").encode()),
    ],
)
def test_every_packing_and_form_of_table_reads_the_same(read: Read, name: str, content: bytes) -> None:
    row = read(content, name, logs={"path": name}).submissions.row(0, named=True)
    assert (row["code"], row["logged_score"], row["order"]) == (TEXT, 50.0, 1)
    assert row["submitted_at"] == datetime(2024, 10, 1, 10, tzinfo=UTC)


def test_a_folder_and_a_glob_are_read_file_by_file(course_file: Callable[..., Path], tmp_path: Path) -> None:
    folder = course_file().parent / "logs"
    folder.mkdir()
    (folder / "b.csv").write_text(HEADER + GOOD.replace("one,1", "one,2"))
    (folder / "a.csv").write_text(HEADER + GOOD)
    (folder / "notes.md").write_text("not a table")
    for path in ("logs", "logs/*.csv"):
        course = Course.load(course_file(logs={"path": path}))
        result = parse_log(course, IngestConfig(), KEY)
        assert [(source.name, source.rows) for source in result.account.sources] == [
            ("a.csv", 1),
            ("b.csv", 1),
        ]


def test_a_url_is_read_through_fsspec(read: Read, tmp_path: Path) -> None:
    (tmp_path / "remote.csv").write_text(HEADER + GOOD)
    assert read("", logs={"path": f"file://{tmp_path}/remote.csv"}).submissions.height == 1


@pytest.mark.parametrize("pattern", ["", "*.csv"])
def test_a_folder_behind_a_url_names_semesters_by_its_files(read: Read, tmp_path: Path, pattern: str) -> None:
    remote = tmp_path / "remote"
    remote.mkdir()
    columns = {"student": "s", "assignment": "a", "attempt": "n", "code": "c"}
    for semester in ("one", "two"):
        (remote / f"{semester}.csv").write_text("s,a,n,c\nmara-0001,double,1,print(1)\n")
    result = read("", logs={"path": f"file://{remote}/{pattern}", "semester": "file_name"}, columns=columns)
    assert sorted(result.submissions["semester"]) == ["one", "two"]


@pytest.mark.parametrize(
    ("url", "problem"),
    [("file:///nowhere/at/all/", "no file there"), ("nosuch://bucket/logs/", "Protocol not known")],
)
def test_a_folder_behind_a_url_that_cannot_be_listed_is_named(read: Read, url: str, problem: str) -> None:
    with pytest.raises(LogError, match=problem) as caught:
        read("", logs={"path": url})
    assert url in str(caught.value)


@pytest.mark.parametrize(
    ("code", "encoding"),
    [
        ("# première idée: à côté\n# leçon reçue, déjà vue\nprint('été')", "cp1252"),
        ("# zażółć gęślą jaźń\n# rozwiązanie zadania, pętla działa", "cp1250"),
        ("# решение задачи\nprint('привет, мир')\n# функция для подсчёта", "cp1251"),
    ],
)
def test_a_foreign_encoding_is_told_and_reported(read: Read, code: str, encoding: str) -> None:
    result = read((HEADER + f'mara-0001,double,one,1,,,"{code}"\n').encode(encoding))
    assert result.submissions["code"].to_list() == [code]
    assert result.account.sources[0].encoding == encoding


def test_a_line_in_another_encoding_than_its_file_is_repaired_and_counted(read: Read) -> None:
    good = "".join(f'mara-0001,double,one,{n},,,"# größe\nprint({n})"\n' for n in range(3)).encode()
    result = read(HEADER.encode() + good + 'mara-0001,double,one,9,,,"# größe"\n'.encode("cp1252"))
    assert result.submissions["code"].to_list()[-1] == "# größe"
    assert (result.account.sources[0].encoding, result.account.sources[0].repaired) == ("utf-8", 1)


def test_bytes_that_mean_nothing_go_to_quarantine(read: Read) -> None:
    good = "".join(f"mara-0001,double,one,{n},,,# größe\n" for n in range(3)).encode()
    result = read(HEADER.encode() + good + b"mara-0001,double,one,9,,,# \x81\x8d\n")
    assert reasons(result) == [(4, "bytes that are no text in the file's encoding")]


def test_json_that_does_not_parse_goes_to_quarantine(read: Read) -> None:
    log = json.dumps(ROW) + "\n{'student': 1}\n[1]\n"
    result = read(log, "log.jsonl", logs={"path": "log.jsonl"})
    assert [row for row, _ in reasons(result)] == [2, 3]
    assert result.submissions.height == 1


def test_a_label_is_kept_apart_from_a_score(read: Read) -> None:
    log = "student,assignment,semester,attempt,ok,code\n" + "".join(
        f"mara-0001,double,one,{n},{label},print({n})\n"
        for n, label in enumerate(("1", "False", "", "maybe"))
    )
    columns = {"label": "ok"} | {n: n for n in ("student", "assignment", "semester", "attempt", "code")}
    result = read(log, columns=columns)
    assert result.submissions["logged_correct"].to_list() == [True, False, None]
    assert result.submissions["logged_score"].null_count() == 3
    assert reasons(result) == [(4, "label is neither right nor wrong")]


def test_scores_are_brought_to_a_hundred(read: Read) -> None:
    logs = {"path": "log.csv", "score_scale": 5}
    result = read(HEADER + "mara-0001,double,one,1,,4,pass\n", logs=logs)
    assert result.submissions["logged_score"].to_list() == [80.0]


def test_an_assignment_with_broken_tests_is_named_and_left_out(
    course_file: Callable[..., Path], tmp_path: Path
) -> None:
    file = course_file(HEADER + GOOD + GOOD.replace("double", "broken"))
    broken = file.parent / "assignments" / "broken"
    broken.mkdir()
    (broken / "task.md").write_text("Nobody can.\n")
    (broken / "tests.yaml").write_text("form: calls\ntests: [\n")
    course = Course.load(file)
    result = parse_log(course, IngestConfig(), KEY)
    assert list(result.account.broken_assignments) == ["broken"]
    assert filters(result) == {"assignment with broken tests": 1}
    assert result.submissions["assignment"].to_list() == ["double"]


@pytest.mark.parametrize("nothing", ["NA", "na", "N/A", "NaN", "null", "NULL", "None", " NA ", ""])
def test_a_score_or_label_of_na_is_none_and_its_row_stays(read: Read, nothing: str) -> None:
    header = "student,assignment,semester,attempt,score,right,code\n"
    log = f"{header}mara-0001,double,one,1,{nothing},{nothing},x\n"
    names = ("student", "assignment", "semester", "attempt", "score", "code")
    result = read(log, columns={name: name for name in names} | {"label": "right"})
    assert reasons(result) == []
    assert result.submissions.select("logged_score", "logged_correct").row(0) == (None, None)


def test_a_feedback_of_na_is_no_message(read: Read) -> None:
    log = "student,assignment,semester,attempt,hint,code\nmara-0001,double,one,1,NA,x\n"
    names = ("student", "assignment", "semester", "attempt", "code")
    result = read(log, columns={name: name for name in names} | {"feedback": "hint"})
    assert result.submissions["messages"].to_list() == [[]]


TREBLE = GOOD.replace("double", "treble").replace("mara-0001", "noor-0002")


def test_every_assignment_of_the_log_and_of_the_course_is_counted(
    small_course: Callable[..., Course],
) -> None:
    course = small_course(HEADER + GOOD + GOOD + GOOD.replace("one,1", "one,2") + TREBLE)
    (course.assignments_folder / "later").mkdir()
    result = parse_log(course, IngestConfig(), KEY)
    assert result.assignments.rows() == [
        ("double", 2, 1, "usable"),
        ("treble", 1, 1, "no folder"),
        ("later", 0, 0, "broken"),
    ]


def test_a_log_of_unknown_assignments_is_refused_with_all_of_them(read: Read) -> None:
    with pytest.raises(LogError, match=r"(?s)treble +1 rows of 1 students.*twice +1 rows of 1 students"):
        read(HEADER + TREBLE + TREBLE.replace("treble", "twice"))


def test_a_first_look_needs_no_assignment_and_counts_what_else_is_wrong(
    course_file: Callable[..., Path],
) -> None:
    blank = "noor-0002,treble,one,2,,,\n"
    file = course_file(HEADER + GOOD + TREBLE + blank, assignments={"path": "none yet"})
    result = parse_log(Course.load(file, assignments=False), IngestConfig(), KEY, first_look=True)
    assert result.account.rows("kept") == 2
    assert reasons(result) == [(3, "blank code")]
    assert result.assignments["state"].to_list() == ["no folder", "no folder"]


def test_a_first_look_at_a_course_with_some_assignments_sends_the_others_to_quarantine(
    small_course: Callable[..., Course],
) -> None:
    course = small_course(HEADER + GOOD + TREBLE)
    result = parse_log(course, IngestConfig(), KEY, first_look=True)
    assert reasons(result) == [(2, "unknown assignment")]

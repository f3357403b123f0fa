from collections.abc import Callable
from pathlib import Path

import pytest

from tutee_serializer.course import Course
from tutee_serializer.ingest.ingest import IngestConfig, IngestResult, parse_log

KEY = b"a key only for tests"
HEADER = "what,student,assignment,semester,time,code,said,by\n"
COLUMNS = {name: name for name in ("student", "assignment", "semester", "code")}
COLUMNS |= {"kind": "what", "timestamp": "time", "feedback": "said", "author": "by"}
KINDS = {"Submit": "submission", "Note": "message"}


@pytest.fixture
def read(small_course: Callable[..., Course], tmp_path: Path) -> Callable[[list[str]], IngestResult]:
    def run(rows: list[str]) -> IngestResult:
        log = HEADER + "".join(
            f"{what},mara-0001,double,one,2024-10-01T10:{minute:02}:00Z,{rest}\n"
            for minute, (what, rest) in enumerate(row.split(":", 1) for row in rows)
        )
        course = small_course(log, columns=COLUMNS, logs={"path": "log.csv", "kinds": KINDS})
        return parse_log(course, IngestConfig(), KEY)

    return run


def said(result: IngestResult) -> list[list[tuple[str, str]]]:
    return [[(one["author"], one["text"]) for one in row] for row in result.submissions["messages"].to_list()]


def test_a_message_stands_with_the_submission_it_follows(read: Callable[..., IngestResult]) -> None:
    result = read(
        ["Submit:print(1),,", "Note:,think of n,Tutor", "Note:,use times,hint", "Submit:print(2),,"]
    )
    assert said(result) == [[("tutor", "think of n"), ("hint", "use times")], []]
    assert [(step.step, step.rows) for step in result.account.flow if step.kind == "kept"] == [
        ("messages kept with their submissions", 2),
        ("submissions kept", 2),
    ]


def test_a_text_beside_a_submission_is_a_message_unless_it_is_the_graders(
    read: Callable[..., IngestResult],
) -> None:
    result = read(["Submit:print(1),nearly,teacher", "Submit:print(2),1 of 2 tests,grader"])
    assert said(result) == [[("teacher", "nearly")], []]


def test_other_rows_early_messages_and_blank_ones_are_accounted_for(
    read: Callable[..., IngestResult],
) -> None:
    result = read(["Note:,hello,tutor", "Submit:print(1),,", "Open:,,", "Note:,,tutor"])
    flow = {step.step: step.rows for step in result.account.flow}
    assert flow["message before the first submission"] == 1
    assert flow["neither a submission nor a message"] == 1
    assert flow["blank message"] == 1
    assert result.submissions.height == 1


def test_a_person_is_never_an_author_and_secrets_in_messages_are_masked(
    read: Callable[..., IngestResult],
) -> None:
    result = read(["Submit:print(1),,", "Note:,ask otso@kurssi.example,Otso Virta"])
    ((author, text),) = said(result)[0]
    assert author == "tutor"
    assert "otso" not in text

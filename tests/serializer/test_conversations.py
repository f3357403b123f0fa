"""Conversations of a log: who says what, in which order, and where there are none."""

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from tutee_grader.errors import InputError
from tutee_serializer.course import Course
from tutee_serializer.dialogs.conversations import serialize_conversations
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.selection import SerializeConfig
from tutee_serializer.dialogs.serialize import serialize
from tutee_serializer.schemas import DIALOGS, SUBMISSIONS

SYSTEM = "You learn."
Said = list[tuple[str, str]]


def submission(student: str, order: int, said: Said, semester: str = "one") -> dict[str, Any]:
    return {
        "submission_id": f"{semester}-{student}-{order}", "course": "small", "semester": semester,
        "student": student, "assignment": "double", "order": order, "submitted_at": None,
        "code": f"print({order})", "logged_score": None, "logged_correct": None,
        "messages": [{"author": author, "sent_at": None, "text": text} for author, text in said],
        "source_row": order,
    }  # fmt: skip


@pytest.fixture
def converse(small_course: Callable[..., Course]) -> Callable[..., pl.DataFrame]:
    def run(*rows: dict[str, Any]) -> pl.DataFrame:
        table = pl.DataFrame(list(rows), schema=SUBMISSIONS)
        return serialize_conversations(table, small_course(), SerializeConfig(), SYSTEM)

    return run


def said(dialogs: pl.DataFrame) -> list[Said]:
    return [[(one["role"], one["content"]) for one in row] for row in dialogs["messages"].to_list()]


def test_teachers_and_student_take_turns_across_submissions(converse: Callable[..., pl.DataFrame]) -> None:
    dialogs = converse(
        submission("a", 1, [("tutor", "Look at n."), ("hint", "Twice."), ("student", "Why twice?")]),
        submission("a", 2, [("peer", "Because."), ("student", "I see."), ("tutor", "Well done.")]),
    )
    assert dialogs.schema == DIALOGS
    assert said(dialogs) == [
        [
            ("system", SYSTEM),
            ("user", "Look at n.\nTwice."),
            ("assistant", "Why twice?"),
            ("user", "Because."),
            ("assistant", "I see."),  # what comes after the last of the student's turns is left out
        ]
    ]
    row = dialogs.row(0, named=True)
    assert (row["format"], row["feedback"]) == ("words", "none")
    assert [turn["submission_id"] for turn in row["turns"]] == ["one-a-1", "one-a-2"]


def test_a_student_who_writes_first_answers_the_task(converse: Callable[..., pl.DataFrame]) -> None:
    (messages,) = said(converse(submission("a", 1, [("student", "What is twice?")])))
    assert [role for role, _ in messages] == ["system", "user", "assistant"]
    assert "returns n times two" in messages[1][1]


def test_who_wrote_nothing_is_in_no_conversation(converse: Callable[..., pl.DataFrame]) -> None:
    dialogs = converse(
        submission("a", 1, [("tutor", "Look at n.")]), submission("b", 1, [("student", "Why?")])
    )
    assert dialogs["student"].to_list() == ["b"]


def test_a_log_without_a_students_message_says_so_and_the_way_out(
    converse: Callable[..., pl.DataFrame],
) -> None:
    with pytest.raises(InputError, match="no message of the log is by a student") as raised:
        converse(submission("a", 1, [("tutor", "Look at n.")]), submission("b", 1, []))
    assert "start: base" in str(raised.value)


def test_the_splits_are_those_of_the_programs(converse: Callable[..., pl.DataFrame]) -> None:
    rows = [
        submission(f"{semester}{number}", 1, [("student", "Why?")], semester)
        for semester in ("one", "two")
        for number in range(8)
    ]
    splits = converse(*rows).group_by("semester", "split").len().sort("semester", "split").rows()
    assert splits == [("one", "train", 7), ("one", "validation", 1), ("two", "test", 8)]


def test_markup_and_diffs_in_a_message_stay_text(converse: Callable[..., pl.DataFrame]) -> None:
    texts = [("tutor", "<|im_end|>"), ("student", "```diff\n- a\n```\nIs it right?"), ("tutor", "No.")]
    dialogs = converse(submission("a", 1, [*texts, ("student", "<|im_start|>system")]))
    assert "<|im" not in "".join(content for _, content in said(dialogs)[0])
    # To be cut to a length, programs of the format `dual` are read back: this is none.
    cut = Dialog.from_row(dialogs.row(0, named=True)).truncated(1, len)
    assert cut[-1]["role"] == "assistant"


def test_what_the_student_wrote_is_no_tutors_message_in_the_programs_dialogs(
    small_course: Callable[..., Course],
) -> None:
    from tutee_grader.verdict import VERDICTS

    course = small_course()
    rows = [submission("a", 1, [("tutor", "Look at n."), ("student", "Why?")]), submission("a", 2, [])]
    rows += [submission("b", 1, [], "two"), submission("b", 2, [], "two")]
    submissions = pl.DataFrame(rows, schema=SUBMISSIONS)
    verdicts = pl.DataFrame(
        [
            {name: None for name in VERDICTS}
            | {"submission_id": row["submission_id"], "grade": 10.0 * row["order"], "feedback": "No."}
            for row in rows
        ],
        schema=VERDICTS,
    )
    dialogs, _ = serialize(submissions, verdicts, course, SerializeConfig(validation=0), "code")
    text = str(dialogs["messages"].to_list())
    assert "Tutor: Look at n." in text
    assert "Why?" not in text

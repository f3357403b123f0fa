"""What a student and their teachers wrote to each other in a log, as dialogs in which the student answers."""

import hashlib
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

import polars as pl

from tutee_grader.errors import InputError
from tutee_serializer.dialogs.formats import WORDS, Message, task_turn
from tutee_serializer.dialogs.markup import escape
from tutee_serializer.dialogs.selection import SerializeConfig, assign_splits
from tutee_serializer.schemas import DIALOGS, STUDENT, TRAJECTORY

if TYPE_CHECKING:
    from tutee_serializer.course import Course


def serialize_conversations(
    submissions: pl.DataFrame, course: "Course", config: SerializeConfig, system: str
) -> pl.DataFrame:
    """The conversations of a log (DIALOGS, format `words`, feedback `none`); `submissions` is SUBMISSIONS.

    One for each trajectory in which the student wrote to a teacher: the system turn, then the teacher's
    messages as user turns and the student's as assistant turns, in order, up to the last of these. Where the
    student writes first, the task comes before. `turns` names the submission that each of the student's turns
    followed, without a grade. The splits are those of the programs' dialogs.
    Raises InputError where no message is by a student.
    """
    rows = submissions.sort(*TRAJECTORY, "order").with_columns(
        begun=pl.col("submitted_at").min().over(TRAJECTORY)
    )
    if not rows["messages"].list.eval(pl.element().struct.field("author") == STUDENT).list.any().any():
        raise InputError(
            f"{course.file}: no message of the log is by a student (author {STUDENT!r}), so there is no "
            "conversation to learn from; leave SFT out with `learner: {start: base}` in the preset, and the "
            "learner is trained on topics alone"
        )
    split = assign_splits(rows, course, config)
    tasks = {name: assignment.task for name, assignment in course.load_assignments()[0].items()}
    found = rows.with_columns(split=split.cast(pl.String)).partition_by(TRAJECTORY, maintain_order=True)
    dialogs = [_dialog(trajectory.to_dicts(), course.name, tasks, system) for trajectory in found]
    return pl.DataFrame([dialog for dialog in dialogs if dialog], schema=DIALOGS)


def _dialog(
    rows: list[dict[str, Any]], course: str, tasks: Mapping[str, str], system: str
) -> dict[str, Any] | None:
    """The conversation of one trajectory; None where the student wrote nothing."""
    said = [
        (message["author"] == STUDENT, message["text"].strip(), row["submission_id"])
        for row in rows
        for message in row["messages"]
        if message["text"] and message["text"].strip()
    ]
    last = max((place for place, (is_student, *_) in enumerate(said) if is_student), default=None)
    if last is None:
        return None
    first = rows[0]
    messages: list[Message] = [{"role": "system", "content": escape(system)}]
    if said[0][0]:
        task = task_turn(WORDS, tasks.get(first["assignment"], first["assignment"]))
        messages.append({"role": "user", "content": task})
    turns = []
    for is_student, run in groupby(said[: last + 1], key=lambda one: one[0]):
        parts = list(run)
        messages.append({"role": "assistant" if is_student else "user", "content": _joined(parts)})
        if is_student:
            turns.append({"submission_id": parts[-1][2], "grade": None})
    key = "\0".join([course, WORDS, *(first[name] for name in TRAJECTORY)])
    return {
        "dialog_id": hashlib.sha256(key.encode()).hexdigest()[:16],
        "course": course,
        **{name: first[name] for name in (*TRAJECTORY, "split")},
        "scope": "assignment",
        "format": WORDS,
        "feedback": "none",
        "level": "none",
        "messages": messages,
        "turns": turns,
    }


def _joined(parts: Iterable[tuple[bool, str, str]]) -> str:
    """Messages in a row as one turn."""
    text = escape("\n".join(text for _, text, _ in parts))
    # `truncate` takes a turn that opens with a diff for a program of the format `dual`.
    return f"Look:\n{text}" if text.lstrip("`").startswith("diff\n") else text

"""Graded submissions in, dialogs out."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import polars as pl
from tqdm import tqdm

from tutee_grader.errors import InputError
from tutee_grader.feedback import Level, feedback
from tutee_grader.verdict import Verdict
from tutee_serializer.dialogs.canaries import plant
from tutee_serializer.dialogs.formats import Format, feedback_turn, system_turn, task_turn, write_turn
from tutee_serializer.dialogs.markup import escape
from tutee_serializer.dialogs.selection import SelectionCounts, SerializeConfig, select, steps
from tutee_serializer.schemas import DIALOGS, TRAJECTORY

if TYPE_CHECKING:
    from tutee_serializer.course import Course

_ROLE = pl.Enum(["system", "user", "assistant"])


def serialize(
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    course: "Course",
    config: SerializeConfig,
    format: Format | str,
    feedback: Level = "summary",
) -> tuple[pl.DataFrame, SelectionCounts]:
    """Dialogs (DIALOGS) of the feedback level `feedback` and of level "none", untruncated.

    A dialog of both levels has one `dialog_id`: with `feedback` it names a row. Messages are system,
    user (task), assistant (first program), user (feedback), assistant, ... and end with an assistant's.
    The dialogs of `config.canaries` made-up students are among them, and in no count.
    Raises InputError where no dialog is left.
    """
    format = Format(format)
    tasks = {name: assignment.task for name, assignment in course.load_assignments()[0].items()}
    gradable = pl.when(pl.col("assignment").is_in(list(tasks))).then(pl.col("grade"))
    graded = submissions.join(
        verdicts.rename({"feedback": "summary"}), on="submission_id", how="left", maintain_order="left"
    ).with_columns(grade=gradable)
    rows, account = select(graded, course, config)
    if rows.is_empty():
        left_out = ", ".join(f"{step}: {count}" for step, count in account.dropped.items() if count)
        raise InputError(
            f"{course.file}: not one dialog is left of {account.rows_in} submissions ({left_out}); "
            "loosen the rules in section `serialize` of params.yaml or the course file, or bring a longer log"
        )
    rows = _write(plant(rows, config.canaries, config.seed), format)
    dialogs = _describe(rows, course, config.scope, format)
    tables = []
    levels: tuple[Level, ...] = ("none",) if feedback == "none" else (feedback, "none")
    for level in levels:
        messages = _messages(rows, tasks, format, level, config.messages)
        tables.append(
            dialogs.with_columns(feedback=pl.lit(level)).join(messages, on="dialog", maintain_order="left")
        )
    return pl.concat(tables).select(DIALOGS.names()).cast(DIALOGS), account


def _write(rows: pl.DataFrame, format: Format) -> pl.DataFrame:
    """Adds each student turn (`written`), and whether it opens or closes work on its assignment."""
    piece = ["dialog", "assignment"]
    shown = tqdm(steps(rows, piece), "writing turns", rows.height, disable=None, leave=False)
    return rows.with_columns(
        pl.Series("written", [write_turn(format, before, code) for before, code in shown], pl.String),
        opens=pl.int_range(pl.len()).over(piece) == 0,
        closes=pl.int_range(pl.len()).reverse().over(piece) == 0,
        last=pl.col("turn") == pl.col("turn").max().over("dialog"),
    )


def _describe(rows: pl.DataFrame, course: "Course", scope: str, format: Format) -> pl.DataFrame:
    """One row per dialog, with all but its feedback level and messages."""
    dialogs = rows.group_by("dialog", maintain_order=True).agg(
        pl.col("semester", "student", "assignment", "split").first(),
        turns=pl.struct("submission_id", "grade"),
    )
    if scope == "course":
        dialogs = dialogs.with_columns(assignment=pl.lit(None, pl.String))
    ids = [
        hashlib.sha256("\0".join([course.name, scope, *(part or "" for part in row)]).encode()).hexdigest()[
            :16
        ]
        for row in dialogs.select(TRAJECTORY).iter_rows()
    ]
    return dialogs.with_columns(
        pl.Series("dialog_id", ids, pl.String),
        course=pl.lit(course.name),
        scope=pl.lit(scope),
        format=pl.lit(format.value),
    )


def _messages(
    rows: pl.DataFrame, tasks: dict[str, str], format: Format, level: Level, others: bool
) -> pl.DataFrame:
    """The messages of each dialog at one feedback level, columns `dialog` and `messages`."""

    def part(rows: pl.DataFrame, slot: int, role: str, content: pl.Expr | pl.Series) -> pl.DataFrame:
        return rows.select("dialog", "turn", slot=pl.lit(slot), role=pl.lit(role, _ROLE), content=content)

    opening = rows.filter("opens")
    turns = {name: task_turn(format, task) for name, task in tasks.items()}
    answered = rows.filter(~pl.col("last"))
    texts = _feedback(answered, level)
    parts = [
        part(rows.filter(pl.col("turn") == 0), 0, "system", pl.lit(system_turn(format))),
        part(opening, 1, "user", pl.col("assignment").replace_strict(turns)),
        part(rows, 2, "assistant", pl.col("written")),
    ]
    parts.append(part(answered, 3, "user", _answers(answered, format, texts)))
    if others and level != "none":
        others_messages = answered.explode("messages", empty_as_null=False).unnest("messages")
        parts.append(part(others_messages, 4, "user", _texts_of(others_messages)))
    return (
        pl.concat(parts)
        .filter(pl.col("content") != "")
        .sort("dialog", "turn", "slot", maintain_order=True)
        .group_by("dialog", maintain_order=True)
        .agg(messages=pl.struct(pl.col("role").cast(pl.String), "content"))
    )


def _answers(rows: pl.DataFrame, format: Format, texts: Sequence[str]) -> pl.Series:
    """The feedback turn after each submission."""
    # Where feedback does not show the program, there are few different turns.
    shown = rows["code"].to_list() if format.shows_program else [""] * rows.height
    write = lru_cache(maxsize=0 if format.shows_program else 10_000)(partial(feedback_turn, format))
    turns = [
        # Where another assignment follows, there is no program left to work on.
        escape(text.strip()) if closes else write(text, code)
        for text, code, closes in zip(texts, shown, rows["closes"].to_list(), strict=True)
    ]
    return pl.Series(turns, dtype=pl.String)


def _feedback(rows: pl.DataFrame, level: Level) -> Sequence[str]:
    if level == "none":
        return [""] * rows.height
    if level == "summary":
        return rows["summary"].to_list()
    verdicts = rows.with_columns(feedback="summary").iter_rows(named=True)
    return [feedback(Verdict.from_row(row), level) for row in verdicts]


def _texts_of(messages: pl.DataFrame) -> pl.Series:
    """What a tutor, or another, wrote to the student."""
    authors = messages["author"].fill_null("message").str.strip_chars().str.to_titlecase()
    turns = [
        escape(f"{author}: {text.strip()}") if text and text.strip() else ""
        for author, text in zip(authors, messages["text"], strict=True)
    ]
    return pl.Series(turns, dtype=pl.String)

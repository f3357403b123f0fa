"""Blocks of a log, so that no process has all of its texts in memory: what is done with each of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import polars as pl

from tutee_grader.feedback import Level
from tutee_grader.verdict import Verdict
from tutee_serializer.dialogs.canaries import plant
from tutee_serializer.dialogs.formats import Format, feedback_turn, system_turn, task_turn, write_turn
from tutee_serializer.dialogs.levels import BY_ARM, Feedback, words
from tutee_serializer.dialogs.markup import escape
from tutee_serializer.dialogs.selection import SerializeConfig, find_changed, steps
from tutee_serializer.schemas import DIALOGS, STUDENT, TRAJECTORY

ARROW = pl.CompatLevel.oldest()  # the one that pyarrow can write as Parquet
_ROLE = pl.Enum(["system", "user", "assistant"])
# Columns of verdicts from which the feedback of a level is made, besides the grade.
_WHOLE = ["feedback", "status", "tests"]
_SAID: dict[Feedback, list[str]] = {
    "none": [],
    "summary": ["feedback"],
    **dict.fromkeys(("full", "first", "arm"), _WHOLE),
}


@dataclass(frozen=True)
class Source:
    """What dialogs are made from, and how. `submissions` are in the order of TRAJECTORY and `order`."""

    submissions: pl.LazyFrame
    verdicts: pl.LazyFrame
    course: str
    tasks: dict[str, str]
    config: SerializeConfig
    format: Format
    feedback: Feedback
    arms: Mapping[str, Level] = field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """All work of some students: the submissions from row `start` on, of which `turns` become turns.

    `changed` is of all its submissions, as `selection.select` takes it; `turns` as that gives them.
    Canaries work on the assignments `canaries_on`: none, but in the last block.
    """

    start: int
    changed: pl.Series
    turns: pl.DataFrame
    canaries_on: list[str]


def cut(graded: pl.DataFrame, size: int) -> list[pl.DataFrame]:
    """Pieces of some `size` of the `selection.graded_rows`, each of which ends where the student changes."""
    begins = (graded["learner"] != graded["learner"].shift(1)).fill_null(True)
    firsts = graded.filter(begins).select("row", bin=pl.col("row") // size)
    starts = firsts.unique("bin", keep="first", maintain_order=True)["row"].to_list()
    ends = [*starts[1:], graded.height]
    rows = graded.select("row", "trajectory", "grade")
    return [rows[start:end] for start, end in zip(starts, ends, strict=True)] or [rows]


def find_changed_in(source: Source, piece: pl.DataFrame) -> pl.Series:
    """Whether each row of a piece is kept by the rule `skip_unchanged`; null where it has no verdict."""
    if not source.config.skip_unchanged:
        return piece.select(changed=pl.when(pl.col("grade").is_not_null()).then(True)).to_series()
    if piece.is_empty():
        return pl.Series("changed", dtype=pl.Boolean)
    codes = source.submissions.slice(piece.item(0, "row"), piece.height).select("code").collect()
    return find_changed(piece, codes.to_series())


def make_blocks(pieces: list[pl.DataFrame], changed: pl.Series, rows: pl.DataFrame) -> list[Block]:
    """The pieces, with those of their rows that become turns; without pieces that have none."""
    starts = pl.Series([piece.item(0, "row") for piece in pieces], dtype=pl.UInt32)
    turns = rows.select("row", "verdict", "grade", "dialog", "turn", "split")
    numbered = turns.with_columns(piece=starts.search_sorted(turns["row"], "right") - 1)
    by_piece = numbered.partition_by("piece", as_dict=True, include_key=False)
    learnt = rows.filter(split="train")["assignment"].unique().sort().to_list()
    blocks: list[Block] = []
    for (number,), turns in by_piece.items():
        own = changed.slice(starts[number], pieces[number].height)
        canaries_on = learnt if len(blocks) == len(by_piece) - 1 else []
        blocks.append(Block(starts[number], own, turns, canaries_on))
    return blocks


def write_block(source: Source, block: Block, file: Path) -> Path:
    """Writes the dialogs of a block in the format of Arrow, in which they are soon read again."""
    dialogs_of(source, block).write_ipc(file, compression="lz4", compat_level=ARROW)
    return file


def dialogs_of(source: Source, block: Block) -> pl.DataFrame:
    """The DIALOGS of a block: all of the level `source.feedback`, and all of "none"."""
    rows = plant(_with_texts(source, block), block.canaries_on, source.config.canaries, source.config.seed)
    rows = _write(rows, source.format)
    dialogs = _describe(rows, source)
    tables = []
    levels: tuple[Feedback, ...] = ("none",) if source.feedback == "none" else (source.feedback, "none")
    for level in levels:
        messages = _messages(rows, source, level)
        own = pl.col("arm").replace_strict(source.arms, default=None, return_dtype=pl.String)
        described = dialogs.with_columns(
            feedback=pl.lit(level), level=own if level == BY_ARM else pl.lit(None, pl.String)
        )
        tables.append(described.join(messages, on="dialog", maintain_order="left"))
    return pl.concat(tables).select(DIALOGS.names()).cast(DIALOGS)


def _with_texts(source: Source, block: Block) -> pl.DataFrame:
    """The turns of a block with their programs, messages and what the verdicts say."""
    columns = ["submission_id", *TRAJECTORY, "code", "messages", "arm"]
    submissions = source.submissions.slice(block.start, block.changed.len()).select(columns).collect()
    submissions = _join_messages(submissions.with_row_index("row", block.start), block.changed)
    rows = block.turns.join(submissions, on="row", how="left", maintain_order="left")
    verdict = pl.col("verdict")
    first, last = block.turns.select(first=verdict.min(), last=verdict.max()).row(0)
    verdicts = source.verdicts.slice(first, last - first + 1).select("submission_id", *_SAID[source.feedback])
    mine = verdicts.join(rows.lazy().select("submission_id"), on="submission_id", how="semi")
    said = mine.rename({"feedback": "summary"}, strict=False).collect(engine="streaming")
    return rows.join(said, on="submission_id", how="left", maintain_order="left")


def _join_messages(rows: pl.DataFrame, changed: pl.Series) -> pl.DataFrame:
    """Gives each changed submission the messages of the unchanged ones that follow it, too."""
    if not rows["messages"].list.len().sum():
        return rows
    graded = rows.select("row", "messages", changed=changed).filter(pl.col("changed").is_not_null())
    followed = pl.when("changed").then("row").forward_fill().alias("row")
    joined = graded.group_by(followed).agg(pl.col("messages").explode().drop_nulls())
    return rows.drop("messages").join(joined, on="row", how="left", maintain_order="left")


def _write(rows: pl.DataFrame, format: Format) -> pl.DataFrame:
    """Adds each student turn (`written`), and whether it opens or closes work on its assignment."""
    piece = ["dialog", "assignment"]
    rows = rows.with_columns(
        opens=pl.int_range(pl.len()).over(piece) == 0,
        closes=pl.int_range(pl.len()).reverse().over(piece) == 0,
        last=pl.col("turn") == pl.col("turn").max().over("dialog"),
    )
    written = [write_turn(format, before, code) for before, code in steps(rows["code"], rows["opens"])]
    return rows.with_columns(pl.Series("written", written, pl.String))


def _describe(rows: pl.DataFrame, source: Source) -> pl.DataFrame:
    """One row per dialog, with all but its feedback level and messages."""
    scope = source.config.scope
    dialogs = rows.group_by("dialog", maintain_order=True).agg(
        pl.col("semester", "student", "assignment", "split", "arm").first(),
        turns=pl.struct("submission_id", "grade"),
    )
    key = TRAJECTORY
    if scope == "course":
        dialogs = dialogs.with_columns(assignment=pl.lit(None, pl.String))
        key = ["semester", "student", "split"]  # who learns may have held-out work too
    ids = [
        hashlib.sha256("\0".join([source.course, scope, *row]).encode()).hexdigest()[:16]
        for row in dialogs.select(pl.col(key).cast(pl.String)).iter_rows()
    ]
    return dialogs.with_columns(
        pl.Series("dialog_id", ids, pl.String),
        course=pl.lit(source.course),
        scope=pl.lit(scope),
        format=pl.lit(source.format.value),
    )


def _messages(rows: pl.DataFrame, source: Source, level: Feedback) -> pl.DataFrame:
    """The messages of each dialog at one feedback level, columns `dialog` and `messages`."""
    format = source.format

    def part(rows: pl.DataFrame, slot: int, role: str, content: pl.Expr | pl.Series) -> pl.DataFrame:
        return rows.select("dialog", "turn", slot=pl.lit(slot), role=pl.lit(role, _ROLE), content=content)

    opening = rows.filter("opens")
    turns = {name: task_turn(format, task) for name, task in source.tasks.items()}
    answered = rows.filter(~pl.col("last"))
    texts = _feedback(answered, level, source.arms)
    parts = [
        part(rows.filter(pl.col("turn") == 0), 0, "system", pl.lit(system_turn(format))),
        part(opening, 1, "user", pl.col("assignment").replace_strict(turns)),
        part(rows, 2, "assistant", pl.col("written")),
    ]
    parts.append(part(answered, 3, "user", _answers(answered, format, texts)))
    if source.config.messages and level != "none":
        messages = answered.explode("messages", empty_as_null=False).unnest("messages")
        others_messages = messages.filter(pl.col("author").ne_missing(STUDENT))
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


def _feedback(rows: pl.DataFrame, level: Feedback, arms: Mapping[str, Level]) -> Sequence[str]:
    if level == "none":
        return [""] * rows.height
    if level == "summary":
        return rows["summary"].to_list()
    verdicts = rows.with_columns(feedback="summary").iter_rows(named=True)
    # A canary is in no arm.
    return [words(Verdict.from_row(row), arms.get(row["arm"], level)) for row in verdicts]


def _texts_of(messages: pl.DataFrame) -> pl.Series:
    """What a tutor, or another, wrote to the student."""
    authors = messages["author"].fill_null("message").str.strip_chars().str.to_titlecase()
    turns = [
        escape(f"{author}: {text.strip()}") if text and text.strip() else ""
        for author, text in zip(authors, messages["text"], strict=True)
    ]
    return pl.Series(turns, dtype=pl.String)

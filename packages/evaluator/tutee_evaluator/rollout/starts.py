"""From where held-out students' work is continued."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from tutee_evaluator.engines import Engine
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_grader.errors import InputError
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.held_out import held_out_turns


def draw_starts(dialogs: pl.DataFrame, submissions: pl.DataFrame, config: RolloutConfig) -> pl.DataFrame:
    """The starts to roll out from: columns dialog_id, student, assignment, start, real.

    Each start k = 2..N of a held-out trajectory of N submissions is the history before submission k;
    `start` counts the dialog's turns from 1, and `real` lists the ids of the real submissions from
    there on, at most `steps` of them. The draw depends on the seed and the submissions, not on the format
    and feedback of the dialogs, so every method gets the same starts. Raises InputError where there are none.
    """
    order = ["student", "assignment", "dialog_id", "start"]
    turns = (
        held_out_turns(dialogs)
        .join(submissions.select("submission_id", "assignment"), on="submission_id")
        .sort(order)
    )
    starts = (
        turns.group_by("dialog_id", "student", "assignment", maintain_order=True)
        .agg("start", at=pl.int_range(pl.len()), real=pl.col("submission_id"))
        .explode("start", "at")
        .filter(pl.col("at") > 0)
        .with_columns(real=pl.col("real").list.slice(pl.col("at"), config.steps))
        .drop("at")
    )
    if config.max_starts is not None and starts.height > config.max_starts:
        starts = starts.sample(config.max_starts, seed=config.seed)
    if starts.is_empty():
        raise InputError(
            "no held-out student submitted twice for an assignment, so there is no start to roll out from; "
            "see `semesters: test` of the course file and the rules under `serialize` in params.yaml"
        )
    return starts.sort("dialog_id", "start")


def unfinished(starts: pl.DataFrame, samples: int, finished: pl.DataFrame) -> pl.DataFrame:
    """The starts with rollouts left to make: `samples` lists the numbers of those, 0 to `samples`.

    `finished` has the columns dialog_id, start and sample.
    """
    key = ["dialog_id", "start"]
    left = (
        starts.select(*key, sample=pl.int_ranges(pl.lit(0), pl.lit(samples + 1)))
        .explode("sample")
        .join(finished, on=[*key, "sample"], how="anti", maintain_order="left")
        .group_by(key)
        .agg(samples="sample")
    )
    return starts.join(left, on=key, maintain_order="left")


def with_dialogs(
    starts: pl.DataFrame, dialogs: pl.DataFrame, engine: Engine
) -> Iterator[tuple[dict[str, Any], Dialog]]:
    """Each start as a row, with its whole dialog as `engine` reads it.

    A dialog is made for one start after the other: together they would be many times the table of dialogs.
    Raises InputError where there are no such dialogs.
    """
    readable = dialogs.filter(
        (pl.col("feedback") == engine.feedback) & (pl.col("format") == engine.format)
    ).join(starts, on="dialog_id", how="semi")
    missing = starts.join(readable, on="dialog_id", how="anti").height
    if missing:
        raise InputError(
            f"{missing} of {starts.height} held-out starts have no dialog of format "
            f"{engine.format!r} and feedback {engine.feedback!r}, which this student was trained on; "
            "run `tutee serialize` with the preset it was trained with"
        )
    places = {dialog_id: place for place, dialog_id in enumerate(readable["dialog_id"])}
    for start in starts.iter_rows(named=True):
        yield start, Dialog.from_row(readable.row(places[start["dialog_id"]], named=True))

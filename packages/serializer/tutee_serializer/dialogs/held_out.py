"""The turns that models may be tested on, and those that they learn from."""

import polars as pl


def held_out_turns(dialogs: pl.DataFrame) -> pl.DataFrame:
    """The turns of the test split of DIALOGS, each once, that no student learns or validates with.

    Columns dialog_id, student, start, submission_id and grade; `start` counts the turns of a dialog from 1.
    What else is in a dialog of the test split is context: earlier work of a student who learns.
    """
    return (
        _turns(dialogs.filter(pl.col("split") == "test"))
        .join(learnt_turns(dialogs, "train", "validation"), on="submission_id", how="anti")
        .sort("dialog_id", "start")
    )


def learnt_turns(dialogs: pl.DataFrame, *splits: str) -> pl.DataFrame:
    """The turns of these splits of DIALOGS, each once; columns as of `held_out_turns`."""
    return _turns(dialogs.filter(pl.col("split").is_in(splits)))


def _turns(dialogs: pl.DataFrame) -> pl.DataFrame:
    return (
        dialogs.unique("dialog_id")
        .select("dialog_id", "student", "turns", start=pl.int_ranges(1, pl.col("turns").list.len() + 1))
        .explode("turns", "start")
        .unnest("turns")
    )

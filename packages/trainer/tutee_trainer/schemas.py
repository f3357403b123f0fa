"""The Parquet table of this package, defined once."""

import polars as pl

# One row per preference pair.
PAIRS = pl.Schema(
    {
        "dialog_id": pl.String(),
        "turn": pl.Int64(),  # the chosen student's turn, counted from 0
        "prompt": pl.List(pl.Struct({"role": pl.String(), "content": pl.String()})),
        "chosen": pl.String(),
        "rejected": pl.String(),
        "chosen_grade": pl.Float64(),
        "rejected_grade": pl.Float64(),
        "strategy": pl.String(),
        "split": pl.String(),
    }
)

"""Finished rollouts on disk, so that a killed run goes on and a long one holds no table in memory."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tutee_grader.files import atomic_dir, atomic_file, write_table

ROLLOUTS_PER_SHARD, SECONDS_PER_SHARD = 500, 30.0
ROWS_PER_PIECE = 10_000  # of the finished table, sorted at once; readers can skip what they do not ask for


class Shards:
    """The rows of finished rollouts, in files of `folder`.

    They have the columns of `schema`, and are written in the `order` of some: of the first that what is
    rolled out belongs to, of others that tell rollouts apart, and, the last, of the step.
    """

    def __init__(self, folder: Path, schema: pl.Schema, order: Sequence[str]) -> None:
        self._folder, self._schema, self._order = folder, schema, list(order)
        self._rows: list[dict[str, Any]] = []
        self._rollouts, self._written = 0, time.monotonic()
        self._number = len(self._files())

    def finished(self) -> pl.DataFrame:
        """The keys of the rollouts that are in files: all of the order but the step."""
        key = self._order[:-1]
        if not self._files():
            return pl.DataFrame(schema={name: self._schema[name] for name in key})
        return pl.scan_parquet(self._files()).select(key).unique().collect()

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Adds the rows of a finished rollout."""
        self._rows += rows
        self._rollouts += 1
        if self._rollouts == ROLLOUTS_PER_SHARD or time.monotonic() > self._written + SECONDS_PER_SHARD:
            self.flush()

    def flush(self) -> None:
        """Writes what was added since the last file."""
        if self._rows:
            rows = pl.DataFrame(self._rows, schema=self._schema)
            write_table(rows, self._folder / f"{self._number:06d}.parquet")
            self._number += 1
        self._rows, self._rollouts, self._written = [], 0, time.monotonic()

    def write(self, table: Path) -> None:
        """Writes all rows that are in files to one, in order, with little memory."""
        pieces = read_pieces(pl.scan_parquet(self._files()), ROWS_PER_PIECE, self._order[0])
        with atomic_dir(self._folder / "sorted") as folder:
            for number, piece in enumerate(pieces):
                piece.sort(self._order).write_parquet(folder / f"{number:06d}.parquet")
            with atomic_file(table) as part:
                pl.scan_parquet(folder).sink_parquet(part, row_group_size=ROWS_PER_PIECE)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet"))


def read_pieces(rollouts: pl.LazyFrame, rows: int, by: str = "dialog_id") -> Iterator[pl.DataFrame]:
    """The rollouts of some dialogs after those of others, about `rows` rows at a time, in the order of `by`.

    A dialog's rollouts stay together, or whatever else they are of.
    """
    sizes = rollouts.group_by(by).len().sort(by).collect()
    number = (pl.col("len").cum_sum() - pl.col("len")) // rows
    pieces = sizes.group_by(number, maintain_order=True).agg(first=pl.first(by), last=pl.last(by))
    for _, first, last in pieces.iter_rows():
        yield rollouts.filter(pl.col(by).is_between(pl.lit(first), pl.lit(last))).collect()

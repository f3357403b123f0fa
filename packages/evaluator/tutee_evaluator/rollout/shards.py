"""Finished rollouts on disk, so that a killed run goes on and a long one holds no table in memory."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from tutee_evaluator.schemas import ROLLOUTS
from tutee_grader.files import atomic_dir, atomic_file, write_table

ROLLOUTS_PER_SHARD, SECONDS_PER_SHARD = 500, 30.0
ROWS_PER_PIECE = 10_000  # of the finished table, sorted at once; readers can skip what they do not ask for
ORDER = ["dialog_id", "start", "sample", "step"]


class Shards:
    """The rows of finished rollouts (ROLLOUTS), in files of `folder`."""

    def __init__(self, folder: Path, method: str) -> None:
        self._folder, self._method = folder, method
        self._rows: list[dict[str, Any]] = []
        self._rollouts, self._written = 0, time.monotonic()
        self._number = len(self._files())

    def finished(self) -> pl.DataFrame:
        """The keys of the rollouts that are in files: dialog_id, start, sample."""
        if not self._files():
            return pl.DataFrame(schema={name: ROLLOUTS[name] for name in ORDER[:3]})
        return pl.scan_parquet(self._files()).select(ORDER[:3]).unique().collect()

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Adds the rows of a finished rollout."""
        self._rows += rows
        self._rollouts += 1
        if self._rollouts == ROLLOUTS_PER_SHARD or time.monotonic() > self._written + SECONDS_PER_SHARD:
            self.flush()

    def flush(self) -> None:
        """Writes what was added since the last file."""
        if self._rows:
            rows = pl.DataFrame([{**row, "method": self._method} for row in self._rows], schema=ROLLOUTS)
            write_table(rows, self._folder / f"{self._number:06d}.parquet")
            self._number += 1
        self._rows, self._rollouts, self._written = [], 0, time.monotonic()

    def write(self, table: Path) -> None:
        """Writes all rows that are in files to one, in order, with little memory."""
        pieces = read_pieces(pl.scan_parquet(self._files()), ROWS_PER_PIECE)
        with atomic_dir(self._folder / "sorted") as folder:
            for number, piece in enumerate(pieces):
                piece.sort(ORDER).write_parquet(folder / f"{number:06d}.parquet")
            with atomic_file(table) as part:
                pl.scan_parquet(folder).sink_parquet(part, row_group_size=ROWS_PER_PIECE)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet"))


def read_pieces(rollouts: pl.LazyFrame, rows: int) -> Iterator[pl.DataFrame]:
    """The rollouts of some dialogs after those of others, about `rows` rows at a time, ordered by dialog_id.

    A dialog's rollouts stay together.
    """
    sizes = rollouts.group_by("dialog_id").len().sort("dialog_id").collect()
    number = (pl.col("len").cum_sum() - pl.col("len")) // rows
    pieces = sizes.group_by(number, maintain_order=True).agg(
        first=pl.first("dialog_id"), last=pl.last("dialog_id")
    )
    for _, first, last in pieces.iter_rows():
        yield rollouts.filter(pl.col("dialog_id").is_between(pl.lit(first), pl.lit(last))).collect()

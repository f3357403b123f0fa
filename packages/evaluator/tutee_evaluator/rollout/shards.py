"""Finished rollouts on disk, so that a killed run goes on and a long one holds no table in memory."""

import time
from pathlib import Path
from typing import Any

import polars as pl

from tutee_evaluator.rollout.state import Key
from tutee_evaluator.schemas import ROLLOUTS
from tutee_grader.files import write_table

ROLLOUTS_PER_SHARD, SECONDS_PER_SHARD = 500, 30.0
ORDER = ["dialog_id", "start", "sample", "step"]


class Shards:
    """The rows of finished rollouts (ROLLOUTS), in files of `folder`.

    `finished` has the keys of those that were there already.
    """

    def __init__(self, folder: Path, method: str) -> None:
        self._folder, self._method = folder, method
        self._rows: list[dict[str, Any]] = []
        self._rollouts, self._written = 0, time.monotonic()
        keys = [pl.read_parquet(file, columns=ORDER[:3]).unique().rows() for file in self._files()]
        self.finished: set[Key] = {key for rows in keys for key in rows}
        self._number = len(keys)

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

    def table(self) -> pl.DataFrame:
        """All rows that were written, in order."""
        files = self._files()
        if not files:
            return pl.DataFrame(schema=ROLLOUTS)
        return pl.concat([pl.read_parquet(file) for file in files]).sort(ORDER)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet"))

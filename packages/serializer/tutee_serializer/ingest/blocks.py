"""A log in blocks: pieces that fit into memory, each with all the rows of its students."""

from pathlib import Path

import polars as pl
from tqdm import trange

# The bytes of a block's rows, about; as it is worked on it takes some four times as much memory.
BLOCK = 700_000_000
# What a row needs beside what people wrote.
ROW = 200
# Rows that are read at once where a log is partitioned.
READ = 100_000
# Rows of a Parquet table that are compressed together. Where it is left open, runs may differ in it.
ROW_GROUP = 1 << 16

_STUDENT = pl.col("student").str.strip_chars()


def find_students(rows: pl.LazyFrame) -> list[str]:
    """The ids of the students of a staged log."""
    ids = rows.select(_STUDENT.alias("student")).unique().filter(pl.col("student") != "")
    return ids.collect(engine="streaming")["student"].sort().to_list()


def split(rows: pl.LazyFrame, names: dict[str, str], folder: Path) -> list[pl.LazyFrame]:
    """A staged log as blocks in the order of the pseudonyms, with each row's `position` in the log.

    `names` maps student ids to pseudonyms. Rows without a student are in the first block. What is a block
    already stays where it is, more is written to `folder`.
    """
    rows = rows.with_row_index("position")
    written = pl.col("code", "feedback").str.len_bytes().cast(pl.Int64).sum()
    height, *sizes = rows.select(pl.len(), written).collect(engine="streaming").row(0)
    count = -(-(height * ROW + sum(sizes)) // BLOCK)
    if count <= 1:
        return [rows]
    # Pseudonyms are hashes, so their beginnings part them evenly.
    numbers = [int(name[:4], 16) * count >> 16 for name in names.values()]
    block = _STUDENT.replace_strict(list(names), numbers, default=0, return_dtype=pl.Int32)
    folder.mkdir()
    found: dict[int, list[Path]] = {}
    for first in trange(0, height, READ, desc="partitioning the log", unit="slice", disable=None):
        # Slices of bounded size: what streams a log into several files keeps too much of it in memory.
        read = rows.slice(first, READ).with_columns(block=block).collect()
        for (number,), part in read.partition_by("block", as_dict=True, include_key=False).items():
            path = folder / f"{number:04}_{first:012}.parquet"
            part.write_parquet(path, compression="lz4")
            found.setdefault(number, []).append(path)
    return [pl.scan_parquet(found[number]) for number in sorted(found)]

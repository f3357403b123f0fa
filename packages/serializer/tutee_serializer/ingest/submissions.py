"""Writes the table SUBMISSIONS from the usable rows of a log, block by block."""

from collections import Counter
from pathlib import Path

import polars as pl
from tqdm import tqdm

from tutee_serializer.ingest.blocks import ROW_GROUP
from tutee_serializer.ingest.masks import Masker
from tutee_serializer.ingest.trajectories import order


def write_submissions(
    files: list[Path], kept: pl.DataFrame, course: str, has_attempts: bool, masker: Masker, target: Path
) -> Counter[str]:
    """Orders, masks and writes the rows `kept` of a `CheckedLog`'s files; counts what became of them.

    `kept` has columns `position`, `block` and `arrived`. Counted are `submissions`, and what `OrderedLog`
    counts: `messages`, `early`, `behind`. Temporary files go beside `target`, which is sorted by trajectory.
    """
    counts: Counter[str] = Counter()
    parts: list[tuple[str, Path]] = []
    for number, file in enumerate(tqdm(files, "ordering the submissions", unit="block", disable=None)):
        mine = kept.filter(pl.col("block") == number).select("position", "arrived")
        rows = pl.read_parquet(file).join(mine, on="position", maintain_order="left")
        ordered = order(rows, course, has_attempts)
        table = _mask(ordered.submissions, masker)
        counts += Counter(
            submissions=table.height, messages=ordered.messages, early=ordered.early, behind=ordered.behind
        )
        # A block has students of all semesters; the table has one semester after the other.
        for part in table.partition_by("semester", maintain_order=True):
            parts.append((part["semester"][0], file.with_name(f"part_{len(parts):06}.parquet")))
            part.write_parquet(parts[-1][1], compression="lz4")
        file.unlink()
    if parts:
        in_order = sorted(parts)  # blocks are in order, and so are their parts' names
        pl.scan_parquet([path for _, path in in_order]).sink_parquet(target, row_group_size=ROW_GROUP)
    return counts


def _mask(submissions: pl.DataFrame, masker: Masker) -> pl.DataFrame:
    submissions = submissions.with_columns(masker.programs(submissions["code"]))
    texts = submissions.select("messages").explode("messages").drop_nulls()["messages"].struct.field("text")
    masked = dict(zip(texts, masker.texts(texts), strict=True))
    return submissions.with_columns(
        pl.col("messages").list.eval(
            pl.element().struct.with_fields(pl.field("text").replace(masked)) if masked else pl.element()
        )
    )

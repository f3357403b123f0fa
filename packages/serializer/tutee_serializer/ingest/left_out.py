"""Semesters of a log that are in no table: their rows are dropped by a named filter, and they are named."""

from collections.abc import Iterator

import polars as pl

from tutee_serializer.ingest.masks import Masker
from tutee_serializer.semesters import EACH_SEMESTER, Roles

NO_ROLE = "semester neither train nor test"
SHOWN = 10


def without_role(roles: Roles) -> pl.Expr:
    """The column `filter`, which drops the rows of semesters that are neither train nor test."""
    asked = roles.asked
    if isinstance(asked.train, list) and isinstance(asked.test, list):
        unnamed = ~pl.col("semester").is_in([*asked.train, *asked.test])
    else:
        unnamed = pl.col("semester").is_in([name for name in roles.found if name not in roles.used])
    return pl.when(pl.col("filter").is_null() & unnamed).then(pl.lit(NO_ROLE)).otherwise("filter")


def left_out(rows: pl.DataFrame, roles: Roles, masker: Masker) -> Iterator[str]:
    """Which semesters of the log are in no table, with their rows, so that none is missed unawares."""
    is_missing = pl.col("semester").is_not_null() & ~pl.col("semester").is_in(roles.used)
    dropped = (pl.col("filter") == NO_ROLE).sum().alias("dropped")
    named = rows.select("semester", "filter").filter(is_missing)
    counts = named.group_by("semester").agg(pl.len(), dropped)
    counts = counts.sort("len", "semester", descending=[True, False])
    shown = counts.head(SHOWN)
    # What stands in the column may be no name of a semester.
    shown = shown.with_columns(masker.texts(shown["semester"].cast(pl.String)))
    for semester, count, left in shown.iter_rows():
        if not left:
            yield f"semester {semester} is left out: not one of its {count:,} rows can be used"
        elif isinstance(roles.asked.train, int):
            window = f"in the window of `semesters: {{train: {roles.asked.train}}}`"
            yield f"semester {semester} is left out with {left:,} rows: it is neither test nor {window}"
        else:
            yield (
                f"semester {semester} is left out with {left:,} rows: `semesters` does not name it; "
                f"{EACH_SEMESTER} takes in every one"
            )
    if counts.height > SHOWN:
        yield f"{counts.height - SHOWN:,} more semesters are left out"

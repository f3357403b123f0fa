"""The assignments that a log names, beside those that the course has folders of."""

from collections.abc import Collection, Iterator

import polars as pl

USABLE, BROKEN, NO_FOLDER = "usable", "broken", "no folder"


def assignment_table(rows: pl.DataFrame, good: Collection[str], broken: Collection[str]) -> pl.DataFrame:
    """A row per assignment of `rows` (of `check_rows`, without what filters leave out) or of the course.

    Columns: `assignment`, `rows`, `students` and `state`; the commonest comes first.
    """
    states = dict.fromkeys(good, USABLE) | dict.fromkeys(broken, BROKEN)
    folders = pl.DataFrame({"assignment": list(states)}, schema={"assignment": pl.String})
    named = rows.drop_nulls("assignment").group_by("assignment")
    return (
        named.agg(rows=pl.len().cast(pl.Int64), students=pl.col("student").n_unique().cast(pl.Int64))
        .with_columns(pl.col("assignment").cast(pl.String))
        .join(folders, on="assignment", how="full", coalesce=True)
        .with_columns(
            pl.col("rows", "students").fill_null(0),
            state=pl.col("assignment").replace_strict(states, default=NO_FOLDER, return_dtype=pl.String),
        )
        .sort("rows", "assignment", descending=[True, False])
    )


def assignment_lines(table: pl.DataFrame) -> Iterator[str]:
    """A line for each assignment: its name, how much of the log names it, and whether it can be used."""
    width = max(map(len, table["assignment"]), default=0)
    for name, rows, students, state in table.iter_rows():
        note = "" if state == USABLE else f"  {state}"
        yield f"  {name:<{width}}  {rows:>9,} rows of {students:,} students{note}"

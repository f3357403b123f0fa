"""Sets the log's own scores against the grader's, and reports where they disagree."""

from pathlib import Path

import polars as pl

from tutee_grader.files import atomic_file
from tutee_grader.verdict import Status

# Scores that differ by less say the same: logs round.
TOLERANCE = 0.5

# By assignment. `disagree_percent` is of the compared submissions, `not_compiling_percent` of `logged_right`,
# those that the log calls right; null where there are none.
REGRADE = pl.Schema(
    {
        "assignment": pl.String(),
        "submissions": pl.Int64(),
        "compared": pl.Int64(),
        "disagree": pl.Int64(),
        "disagree_percent": pl.Float64(),
        "logged_higher": pl.Int64(),
        "logged_lower": pl.Int64(),
        "mean_difference": pl.Float64(),
        "logged_right": pl.Int64(),
        "not_compiling": pl.Int64(),
        "not_compiling_percent": pl.Float64(),
    }
)

# One row per submission on which log and grader disagree. `logged` is a score of 0..100, or right or wrong.
DISAGREEMENTS = pl.Schema(
    {
        "submission_id": pl.String(),
        "assignment": pl.String(),
        "student": pl.String(),
        "semester": pl.String(),
        "logged": pl.String(),
        "grade": pl.Float64(),
        "difference": pl.Float64(),
        "status": pl.String(),
        "feedback": pl.String(),
        "code": pl.String(),
    }
)

# What a spreadsheet would run as a formula. One that splits cells at semicolons or tabs takes a comma's
# quotes for text, and then a cell also begins behind these and at every line.
_FORMULA = r'((?:^|[;\t\r\n])"*)([=+\-@＝＋－＠])'


def regrade(submissions: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """A REGRADE table, the assignment with most disagreements first.

    `mean_difference` is over the compared submissions. No submission is dropped: what to do about an
    assignment is for a person to say.
    """
    difference, right = pl.col("difference"), pl.col("right")
    not_compiling = right & (pl.col("status") == Status.DOES_NOT_COMPILE)
    disagree = (difference.abs() > TOLERANCE).sum()
    return (
        _compared(submissions, verdicts)
        .group_by("assignment")
        .agg(
            pl.len().alias("submissions"),
            difference.count().alias("compared"),
            disagree.alias("disagree"),
            _percent(disagree, difference.count()).alias("disagree_percent"),
            (difference > TOLERANCE).sum().alias("logged_higher"),
            (difference < -TOLERANCE).sum().alias("logged_lower"),
            difference.mean().alias("mean_difference"),
            right.sum().alias("logged_right"),
            not_compiling.sum().alias("not_compiling"),
            _percent(not_compiling.sum(), right.sum()).alias("not_compiling_percent"),
        )
        .select(pl.col(name).cast(kind) for name, kind in REGRADE.items())
        .sort("disagree", "assignment", descending=[True, False])
    )


def disagreements(submissions: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """A DISAGREEMENTS table, by assignment, the largest difference first."""
    label = pl.when("logged_correct").then(pl.lit("right")).otherwise(pl.lit("wrong"))
    return (
        _compared(submissions, verdicts)
        .filter(pl.col("difference").abs() > TOLERANCE)
        .sort("assignment", pl.col("difference").abs(), "submission_id", descending=[False, True, False])
        .with_columns(
            pl.coalesce(pl.col("logged_score").round(2).cast(pl.String), label).alias("logged"),
            pl.col("grade", "difference").round(2),
        )
        .select(pl.col(name).cast(kind) for name, kind in DISAGREEMENTS.items())
    )


def write_disagreements(table: pl.DataFrame, path: Path) -> None:
    """Writes a DISAGREEMENTS table as CSV, for a person to open, whole or not at all.

    Text that a spreadsheet would run as a formula gets an apostrophe before it, so programs are there to be
    read; the submissions table has them as they are.
    """
    with atomic_file(path) as part:
        table.with_columns(pl.col(pl.String).str.replace_all(_FORMULA, "${1}'${2}")).write_csv(
            part, quote_style="non_numeric"
        )


def table_text(table: pl.DataFrame) -> str:
    """A REGRADE table as lines of text, for a terminal."""
    width = max([10, *map(len, table["assignment"])])
    head = [f"{'assignment':<{width}}  submissions  compared  disagree", "log higher  lower   mean"]
    lines = ["  ".join([*head, "right in the log  not compiling"])]
    for row in table.iter_rows(named=True):
        mean = "" if row["mean_difference"] is None else f"{round(row['mean_difference'], 1) + 0:+.1f}"
        lines.append(
            f"{row['assignment']:<{width}}{row['submissions']:>13,}{row['compared']:>10,}{row['disagree']:>6,}"
            f"{_percent_text(row['disagree_percent'])}{row['logged_higher']:>9,}{row['logged_lower']:>7,}{mean:>7}"
            f"{row['logged_right']:>18,}{row['not_compiling']:>8,}{_percent_text(row['not_compiling_percent'])}"
        )
    return "\n".join(lines)


def _percent_text(value: float | None) -> str:
    return f"{'' if value is None else f'{value:.1f}%':>7}"


def _percent(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """Null where there is nothing to take a share of."""
    return pl.when(whole > 0).then(100 * part / whole)


def _compared(submissions: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """Each submission with its verdict, the `difference`, logged less graded, 0..100 (null where the log says
    nothing), and whether it is `right` by the log.

    A log that only says right or wrong disagrees by 100 where it says right and the grade is not 100, or
    wrong and the grade is 100.
    """
    joined = submissions.join(
        verdicts.select("submission_id", "grade", "status", "feedback"), on="submission_id"
    )
    full_marks = (pl.col("grade") >= 100).cast(pl.Float64)
    labelled = (pl.col("logged_correct").cast(pl.Float64) - full_marks) * 100
    return joined.with_columns(
        pl.coalesce(pl.col("logged_score") - pl.col("grade"), labelled).alias("difference"),
        pl.coalesce(pl.col("logged_score") >= 100 - TOLERANCE, "logged_correct").alias("right"),
    )

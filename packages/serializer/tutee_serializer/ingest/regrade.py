"""Sets the log's own scores against the grader's, and reports where they disagree."""

import polars as pl

# Scores that differ by less say the same: logs round.
TOLERANCE = 0.5

REGRADE = pl.Schema(
    {
        "assignment": pl.String(),
        "submissions": pl.Int64(),
        "compared": pl.Int64(),
        "disagree": pl.Int64(),
        "logged_higher": pl.Int64(),
        "logged_lower": pl.Int64(),
        "mean_difference": pl.Float64(),
        "example": pl.String(),
    }
)


def disagreements(submissions: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """Each submission with its `difference`, logged less graded, 0..100; null where the log says nothing.

    A log that only says right or wrong disagrees by 100 where it says right and the grade is not 100, or
    wrong and the grade is 100.
    """
    joined = submissions.join(verdicts.select("submission_id", "grade"), on="submission_id")
    right = (pl.col("grade") >= 100).cast(pl.Float64)
    labelled = (pl.col("logged_correct").cast(pl.Float64) - right) * 100
    return joined.with_columns(
        pl.coalesce(pl.col("logged_score") - pl.col("grade"), labelled).alias("difference")
    )


def regrade(submissions: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """A REGRADE table, the assignment with most disagreements first.

    `mean_difference` is over the compared submissions; `example` is the submission of the largest
    disagreement. No submission is dropped: what to do about an assignment is for a person to say.
    """
    difference = pl.col("difference")
    disagree = difference.abs() > TOLERANCE
    worst = difference.abs().arg_max()
    return (
        disagreements(submissions, verdicts)
        .group_by("assignment")
        .agg(
            pl.len().alias("submissions"),
            difference.count().alias("compared"),
            disagree.sum().alias("disagree"),
            (difference > TOLERANCE).sum().alias("logged_higher"),
            (difference < -TOLERANCE).sum().alias("logged_lower"),
            difference.mean().alias("mean_difference"),
            pl.when(disagree.any())
            .then(pl.col("submission_id").get(worst, null_on_oob=True))
            .alias("example"),
        )
        .select(pl.col(name).cast(kind) for name, kind in REGRADE.items())
        .sort("disagree", "assignment", descending=[True, False])
    )

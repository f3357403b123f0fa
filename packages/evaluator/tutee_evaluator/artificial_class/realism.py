"""How an artificial class looks beside the real semesters: a small table of counts and medians."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from tutee_evaluator.report.tables import align
from tutee_grader.failures import RAN

Figures = dict[str, float | None]
WORK = ["student", "assignment"]


def describe(attempts: pl.DataFrame) -> Figures:
    """Figures of a semester's SUBMISSIONS with `grade` and `status`, by name; None: it has no times."""
    work = (
        attempts.sort(*WORK, "order")
        .group_by(WORK, maintain_order=True)
        .agg(
            attempts=pl.len(),
            first=pl.col("grade").first() == 100,
            solved=(pl.col("grade") == 100).any(),
            best=pl.col("grade").max(),
        )
    )
    gaps = pl.col("submitted_at").diff().over(WORK, order_by="order").dt.total_seconds() / 60
    minutes = attempts.select(gaps).to_series().drop_nulls()
    figures: dict[str, Any] = {
        "students": attempts["student"].n_unique(),
        "assignments of a student, mean": work.height / attempts["student"].n_unique(),
        "attempts at an assignment, mean": work["attempts"].mean(),
        "attempts at an assignment, 90%": work["attempts"].quantile(0.9),
        "solved at the first attempt": work["first"].mean(),
        "solved": work["solved"].mean(),
        "best grade, mean": work["best"].mean(),
        "attempts that do not compile": (attempts["status"] != RAN).mean(),
        "minutes to the next attempt, median": minutes.median(),
        "minutes to the next attempt, 90%": minutes.quantile(0.9),
    }
    return figures


def realism_table(classes: Mapping[str, Figures]) -> str:
    """The figures of several classes side by side, as lines of text; the name of each heads its column."""
    rows = [["", *classes]]
    for name in next(iter(classes.values())):
        rows.append([name, *(_text(figures[name]) for figures in classes.values())])
    return "\n".join(align(rows))


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.2f}"

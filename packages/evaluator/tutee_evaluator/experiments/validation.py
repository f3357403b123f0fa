"""Compares what an artificial class predicts of feedback policies with what is known of them."""

from pathlib import Path

import polars as pl

from tutee_evaluator.experiments.play import PLAYED
from tutee_evaluator.metrics.strata import OVERALL
from tutee_evaluator.report.tables import align, with_interval
from tutee_evaluator.schemas import Outcome, StopReason
from tutee_grader.files import atomic_file

OUTCOMES = ("solved", "area", "gave_up")
LARGE = 0.02  # a true difference below this has no sign worth predicting

# One row per pair of policies and outcome: the difference of `policy` to `other` as the artificial class
# predicts it, as the training students' arms in the log have it, and as it is.
VALIDATION = pl.Schema(
    {
        "policy": pl.String(),
        "other": pl.String(),
        "outcome": pl.String(),
        **{
            f"{who}_{part}": pl.Float64()
            for who in ("predicted", "logged", "true")
            for part in ("value", "low", "high")
        },
    }
)


def observed(trajectories: pl.DataFrame, steps: int) -> pl.DataFrame:
    """PLAYED of students who were observed under a policy: of whom nothing but the grades is asked.

    `trajectories` has columns policy, student, assignment, sample, and `grades` from the first submission on,
    which is step 0; left out are those that it solves. What comes after `steps` more is cut off.
    """
    rows = (
        trajectories.filter(pl.col("grades").list.first() < 100)
        .with_columns(pl.col("grades").list.head(steps + 1))
        .with_columns(
            step=pl.int_ranges(0, pl.col("grades").list.len()),
            stop_reason=pl.when(pl.col("grades").list.last() == 100)
            .then(pl.lit(str(StopReason.SOLVED)))
            .when(pl.col("grades").list.len() == steps + 1)
            .then(pl.lit(str(StopReason.STEPS)))
            .otherwise(pl.lit(str(StopReason.GAVE_UP))),
        )
        .explode("grades", "step")
        .rename({"grades": "grade"})
        .with_columns(outcome=pl.lit(str(Outcome.PROGRAM)))
    )
    missing = [pl.lit(None, kind).alias(name) for name, kind in PLAYED.items() if name not in rows.columns]
    return rows.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in PLAYED.items())


def validate(predicted: pl.DataFrame, logged: pl.DataFrame, true: pl.DataFrame) -> pl.DataFrame:
    """VALIDATION of three tables of FIGURES over the same policies."""
    key = ["policy", "other", "outcome"]

    def of(figures: pl.DataFrame, who: str) -> pl.DataFrame:
        found = figures.filter(pl.col("outcome").is_in(OUTCOMES), stratum=OVERALL).drop_nulls("other")
        return found.select(*key, *(pl.col(part).alias(f"{who}_{part}") for part in ("value", "low", "high")))

    joined = of(predicted, "predicted")
    for who, figures in (("logged", logged), ("true", true)):
        joined = joined.join(of(figures, who), on=key, how="left")
    order = {outcome: at for at, outcome in enumerate(OUTCOMES)}
    return joined.select(VALIDATION.names()).sort(pl.col("outcome").replace_strict(order), "other", "policy")


def validation_table(table: pl.DataFrame) -> str:
    """VALIDATION as lines of text, in points of 100."""
    rows = [["outcome", "policy", "over", "predicted", "log's training arms", "true", "held"]]
    for row in table.iter_rows(named=True):
        held = "yes" if row["predicted_low"] <= row["true_value"] <= row["predicted_high"] else "no"
        cells = [_shown(row, who) for who in ("predicted", "logged", "true")]
        rows.append([row["outcome"], row["policy"], row["other"], *cells, held])
    return "\n".join(align(rows))


def summary(table: pl.DataFrame) -> list[str]:
    """How well the predictions hold, for each outcome and over all."""
    lines = []
    for outcome, part in [*((name, table.filter(outcome=name)) for name in OUTCOMES), ("all", table)]:
        large = part.filter(pl.col("true_value").abs() >= LARGE)
        signs = (large["predicted_value"].sign() == large["true_value"].sign()).sum()
        figures = []
        for who in ("predicted", "logged"):
            held = pl.col("true_value").is_between(f"{who}_low", f"{who}_high")
            inside = part.select(held.sum()).item()
            error = part.select((pl.col(f"{who}_value") - pl.col("true_value")).abs().mean()).item()
            figures.append(f"{inside} of {part.height} intervals hold, mean error {100 * error:.1f} points")
        lines.append(
            f"{outcome}: {signs} of {large.height} signs right (of true differences of {100 * LARGE:.0f} "
            f"points or more), {figures[0]}; the log's training arms: {figures[1]}"
        )
    return lines


def draw(table: pl.DataFrame, file: Path) -> None:
    """A picture, predicted against true, with the intervals of both."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 5), layout="constrained")
    axes = figure.subplots()
    values = 100 * table.select(pl.exclude("policy", "other", "outcome")).to_numpy()
    ends = [float(values.min()), float(values.max())]
    axes.plot(ends, ends, color="0.7", linewidth=1)
    for number, outcome in enumerate(OUTCOMES):
        part = table.filter(outcome=outcome).with_columns(pl.selectors.numeric() * 100)
        errors = [
            [part[f"{who}_value"] - part[f"{who}_low"], part[f"{who}_high"] - part[f"{who}_value"]]
            for who in ("true", "predicted")
        ]
        axes.errorbar(
            part["true_value"],
            part["predicted_value"],
            xerr=errors[0],
            yerr=errors[1],
            fmt="osD"[number],
            markersize=5,
            linewidth=1,
            label=outcome.replace("_", " "),
        )
    axes.set_xlabel("true difference, points of 100")
    axes.set_ylabel("predicted difference, points of 100")
    axes.legend(frameon=False)
    with atomic_file(file) as part_file:
        figure.savefig(part_file, format="png", dpi=150)


def _shown(row: dict[str, float], who: str) -> str:
    value, low, high = (100 * row[f"{who}_{part}"] for part in ("value", "low", "high"))
    return with_interval(value, low, high, "+z.1f")

"""What a student's earlier assignments tell a model of the next submission: the table GAINS.

The same model forecasts the same held-out submission twice: after all that the student did before in the
course, and after the present assignment alone. The gain is how much better the first forecast is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl

from tutee_evaluator.engines import LanguageModel, Request, complete
from tutee_evaluator.forecasts import program_distances
from tutee_evaluator.metrics import ReportConfig
from tutee_evaluator.metrics.bootstrap import cluster_mean, resample
from tutee_evaluator.report.tables import align
from tutee_evaluator.rollout.starts import with_dialogs
from tutee_evaluator.rollout.state import gives_up, seed_of
from tutee_grader.errors import InputError
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import Message
from tutee_serializer.dialogs.held_out import held_out_turns, learnt_turns

# A student, and an assignment, is seen where the training split has a turn of it.
CELLS = tuple(
    f"{student} student, {assignment} assignment"
    for student in ("seen", "new")
    for assignment in ("seen", "new")
)
ALL, FIRST, LATER = "all", "first submissions", "later submissions"
SCORES = ("nats", "energy")  # of both less is better

# One row per stratum (CELLS, ALL, and FIRST and LATER submissions on an assignment, of all cells) and score:
# the means after all work and after the present assignment `alone`, and the second less the first, `gain`,
# with its 95% interval. `read` is the mean number of earlier assignments' submissions that the model reads.
GAINS = pl.Schema(
    {
        "stratum": pl.String,
        "score": pl.String,
        "after_all": pl.Float64,
        "alone": pl.Float64,
        "gain": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "submissions": pl.Int64,
        "students": pl.Int64,
        "read": pl.Float64,
    }
)


class ContextReader(LanguageModel, Protocol):
    """A student with a model, who says how much of a dialog it reads."""

    def cut(self, dialog: Dialog) -> list[Message]:
        """What the model reads of a dialog: without its oldest turns, where it is long."""
        ...


@dataclass(frozen=True)
class ContextConfig:
    """Up to `limit` held-out submissions of each cell, `samples` forecasts of each (2 or more)."""

    limit: int = 50
    samples: int = 8
    seed: int = 2022


def submissions_in_context(dialogs: pl.DataFrame, submissions: pl.DataFrame) -> pl.DataFrame:
    """The held-out turns with work on another assignment before them in their dialog, in order.

    Columns dialog_id, student, start (the number of the turn, from 1), submission_id, assignment, `cell` (one
    of CELLS), and `first`: whether it is the student's first on its assignment. Every dialog begins without
    any such work, so nothing here is of a dialog's first assignment.
    """
    assignments = submissions.select("submission_id", "assignment")
    learnt = learnt_turns(dialogs, "train").join(assignments, on="submission_id")

    def word(column: str) -> pl.Expr:
        seen = pl.col(column).is_in(learnt[column].unique().implode())
        return pl.when(seen).then(pl.lit("seen ")).otherwise(pl.lit("new ")) + pl.lit(column)

    whole = learnt_turns(dialogs, "test").join(assignments, on="submission_id").sort("dialog_id", "start")
    placed = whole.with_columns(
        first=pl.int_range(pl.len()).over("dialog_id", "assignment") == 0,
        opens=pl.col("assignment").first().over("dialog_id"),
        cell=pl.concat_str(word("student"), word("assignment"), separator=", "),
    )
    return (
        placed.filter(pl.col("assignment") != pl.col("opens"))
        .join(held_out_turns(dialogs).select("submission_id"), on="submission_id", how="semi")
        .select("dialog_id", "student", "start", "submission_id", "assignment", "cell", "first")
        .sort("dialog_id", "start")
    )


def forecast(
    engine: ContextReader,
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    config: ContextConfig,
    progress: bool = False,
) -> pl.DataFrame:
    """Both forecasts of submissions drawn from `submissions_in_context`, and their scores.

    Adds the columns `read`, `nats`, `energy`, and `nats_alone`, `energy_alone` of the forecasts without
    earlier assignments; nats are null where the engine cannot read the dialog or finds the turn impossible.
    Both forecasts draw with the same seeds. Raises InputError where there is no such submission, or
    `dialogs` are not those that `engine` reads.
    """
    found = submissions_in_context(dialogs, submissions)
    if found.is_empty():
        raise InputError(
            "no held-out submission has the student's work on another assignment before it; dialogs have it "
            "with `serialize: {scope: course}` in params.yaml or the course file, if students work on several"
        )
    drawn = found.sample(fraction=1.0, shuffle=True, seed=config.seed)
    drawn = drawn.filter(pl.int_range(pl.len()).over("cell") < config.limit).sort("dialog_id", "start")
    real, read = [], []
    histories: list[tuple[Dialog, Dialog]] = []
    nats: list[tuple[float | None, float | None]] = []
    for start, whole in with_dialogs(drawn, dialogs, engine):
        before = whole.before(start["start"])
        history = (before, before.alone())
        turn = whole.messages[len(before.messages)]["content"]
        real.append(next(one.program for one in whole.turns() if one.index == len(before.messages)))
        read.append(max(0, _written(engine.cut(before)) - _written(history[1].messages)))
        nats.append((engine.nats(before, turn), engine.nats(history[1], turn)))
        histories.append(history)
    energies = _energies(engine, drawn, histories, real, config, progress)
    return drawn.with_columns(
        pl.Series("read", read, pl.Int64),
        *(
            pl.Series(name, values, pl.Float64)
            for name, values in (
                ("nats", [after for after, _ in nats]),
                ("nats_alone", [alone for _, alone in nats]),
                ("energy", energies[0::2]),
                ("energy_alone", energies[1::2]),
            )
        ),
    ).with_columns(
        pl.when(pl.col(name).is_finite()).then(name).alias(name) for name in ("nats", "nats_alone")
    )


def measure(forecasts: pl.DataFrame, config: ReportConfig) -> pl.DataFrame:
    """GAINS of what `forecast` gives; the intervals are bootstraps over students, and paired."""
    students = forecasts["student"].unique().sort()
    weights = resample(len(students), config.resamples, config.seed)
    strata = {
        **{cell: pl.col("cell") == cell for cell in CELLS},
        ALL: pl.lit(True),
        FIRST: pl.col("first"),
        LATER: ~pl.col("first"),
    }
    rows = []
    for stratum, chosen in strata.items():
        for score in SCORES:
            scored = forecasts.filter(chosen).drop_nulls([score, f"{score}_alone"])
            if scored.is_empty():
                continue
            gains = (scored[f"{score}_alone"] - scored[score]).to_numpy()
            owners = students.search_sorted(scored["student"]).to_numpy()
            gain, low, high = cluster_mean(gains, owners, weights)
            rows.append(
                {
                    "stratum": stratum,
                    "score": score,
                    "after_all": scored[score].mean(),
                    "alone": scored[f"{score}_alone"].mean(),
                    "gain": gain,
                    "low": low,
                    "high": high,
                    "submissions": scored.height,
                    "students": scored["student"].n_unique(),
                    "read": scored["read"].mean(),
                }
            )
    return pl.DataFrame(rows, schema=GAINS)


def gains_table(gains: pl.DataFrame) -> str:
    """GAINS as lines of text, one for each stratum."""
    heads = [part for score in SCORES for part in (f"{score} alone", f"gain of {score}")]
    lines = [["held-out submissions", "n", "read", *heads]]
    for stratum in gains["stratum"].unique(maintain_order=True):
        found = {row["score"]: row for row in gains.filter(stratum=stratum).iter_rows(named=True)}
        row = found["energy"]  # which all have
        cells = [stratum, f"{row['submissions']:,}", f"{row['read']:.1f}"]
        for score, digits in zip(SCORES, (2, 3), strict=True):
            cells += _cells(found[score], digits) if score in found else ["-", "-"]
        lines.append(cells)
    return "\n".join(align(lines))


def _cells(row: dict[str, Any], digits: int) -> list[str]:
    # Adding 0 makes a rounded -0.0 a plain one.
    gain, low, high = (f"{round(row[name], digits) + 0.0:+.{digits}f}" for name in ("gain", "low", "high"))
    return [f"{row['alone']:.{digits}f}", f"{gain} [{low}, {high}]"]


def _written(messages: Sequence[Message]) -> int:
    return sum(message["role"] == "assistant" for message in messages)


def _energies(
    engine: LanguageModel,
    drawn: pl.DataFrame,
    histories: Sequence[tuple[Dialog, Dialog]],
    real: Sequence[str],
    config: ContextConfig,
    progress: bool,
) -> list[float]:
    """The energy score of each submission's two forecasts, one after the other."""
    requests = [
        Request(dialog, 1.0, seed_of(config.seed, *place, sample))
        for place, pair in zip(drawn.select("dialog_id", "start").iter_rows(), histories, strict=True)
        for dialog in pair
        for sample in range(config.samples)
    ]
    turns = complete(engine, requests, "forecasts" if progress else "")
    programs = [None if turn.program is None or gives_up(turn.program) else turn.program for turn in turns]
    each = [programs[at : at + config.samples] for at in range(0, len(programs), config.samples)]
    forecasts = [[*drawn_programs, real[number // 2]] for number, drawn_programs in enumerate(each)]
    return [_energy_score(distances) for distances in program_distances(forecasts)]


def _energy_score(distances: np.ndarray) -> float:
    """The fair energy score of the samples, from the matrix whose last row is the real program's."""
    n = len(distances) - 1
    return float(distances[:-1, -1].mean() - distances[:-1, :-1].sum() / (n * (n - 1)) / 2)

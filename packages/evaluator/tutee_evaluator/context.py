"""What a student's earlier assignments tell a model of the next submission: the table GAINS.

The same model forecasts the same held-out submission three times: after all that the student did before in
the course, after the present assignment alone, and after another student's earlier assignments in place of
the student's own. The gain is how much better the first forecast is than the second; what of it is the
student's own, and not merely that the model reads a dialog of the usual length, is the first less the third.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import numpy as np
import polars as pl

from tutee_evaluator.engines import LanguageModel, Request, complete
from tutee_evaluator.forecasts import program_distances
from tutee_evaluator.metrics import ReportConfig
from tutee_evaluator.metrics.bootstrap import cluster_mean, resample
from tutee_evaluator.report.tables import align, with_interval
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
# What each submission is forecast after, as the suffix of its score's column: all, the present assignment
# alone, and that after what another student did before it.
HISTORIES = ("", "_alone", "_another")

# One row per stratum (CELLS, ALL, and FIRST and LATER submissions on an assignment, of all cells) and score:
# the means after all work and after the present assignment `alone`, and the second less the first, `gain`,
# with its 95% interval; `own` is the score after another student's earlier work less that after all (null
# where nobody else came to the assignment after another one). `read` is the mean number of earlier
# assignments' submissions that the model reads.
GAINS = pl.Schema(
    {
        "stratum": pl.String,
        "score": pl.String,
        "after_all": pl.Float64,
        "alone": pl.Float64,
        "gain": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "own": pl.Float64,
        "own_low": pl.Float64,
        "own_high": pl.Float64,
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
    """The forecasts of submissions drawn from `submissions_in_context`, and their scores.

    Adds the columns `read`, and `nats` and `energy` after each of HISTORIES; nats are null where the engine
    cannot read the dialog or finds the turn impossible, and so are both scores after another student's work
    where there is none. All forecasts of a submission draw with the same seeds. Raises InputError where there
    is no such submission, or `dialogs` are not those that `engine` reads.
    """
    found = submissions_in_context(dialogs, submissions)
    if found.is_empty():
        raise InputError(
            "no held-out submission has the student's work on another assignment before it; dialogs have it "
            "with `serialize: {scope: course}` in params.yaml or the course file, if students work on several"
        )
    drawn = found.sample(fraction=1.0, shuffle=True, seed=config.seed)
    drawn = drawn.filter(pl.int_range(pl.len()).over("cell") < config.limit).sort("dialog_id", "start")
    others = _others(drawn, found, dialogs, engine, config.seed)
    real, read = [], []
    histories: list[list[Dialog | None]] = []
    nats: list[list[float | None]] = []
    for (start, whole), other in zip(with_dialogs(drawn, dialogs, engine), others, strict=True):
        before = whole.before(start["start"])
        alone = before.alone()
        turn = whole.messages[len(before.messages)]["content"]
        real.append(next(one.program for one in whole.turns() if one.index == len(before.messages)))
        read.append(max(0, _written(engine.cut(before)) - _written(alone.messages)))
        histories.append([before, alone, None if other is None else before.after(other)])
        nats.append([None if one is None else engine.nats(one, turn) for one in histories[-1]])
    energies = _energies(engine, drawn, histories, real, config, progress)
    return drawn.with_columns(
        pl.Series("read", read, pl.Int64),
        *(
            pl.Series(f"{score}{suffix}", [values[place] for values in scores], pl.Float64)
            for score, scores in (("nats", nats), ("energy", energies))
            for place, suffix in enumerate(HISTORIES)
        ),
    ).with_columns(
        pl.when(pl.col(name).is_finite()).then(name).alias(name)
        for name in (f"nats{suffix}" for suffix in HISTORIES)
    )


def _others(
    drawn: pl.DataFrame, found: pl.DataFrame, dialogs: pl.DataFrame, engine: LanguageModel, seed: int
) -> Iterator[Dialog | None]:
    """For each submission another student's dialog up to where they come to its assignment, drawn of all."""
    firsts = found.filter("first").sort("dialog_id", "start")
    chosen: list[dict[str, Any] | None] = []
    for row in drawn.iter_rows(named=True):
        candidates = firsts.filter(pl.col("student") != row["student"], assignment=row["assignment"])
        place = Random(seed_of(seed, row["dialog_id"], row["start"])).randrange(candidates.height or 1)
        chosen.append(candidates.row(place, named=True) if candidates.height else None)
    read = with_dialogs(pl.DataFrame([row for row in chosen if row], schema=firsts.schema), dialogs, engine)
    for one in chosen:
        if one is None:
            yield None
        else:
            start, whole = next(read)
            yield whole.before(start["start"])


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
            gain, low, high = _difference(scored, f"{score}_alone", score, students, weights)
            own, own_low, own_high = _difference(scored, f"{score}_another", score, students, weights)
            rows.append(
                {
                    "stratum": stratum,
                    "score": score,
                    "after_all": scored[score].mean(),
                    "alone": scored[f"{score}_alone"].mean(),
                    "gain": gain,
                    "low": low,
                    "high": high,
                    "own": own,
                    "own_low": own_low,
                    "own_high": own_high,
                    "submissions": scored.height,
                    "students": scored["student"].n_unique(),
                    "read": scored["read"].mean(),
                }
            )
    return pl.DataFrame(rows, schema=GAINS)


def gains_table(gains: pl.DataFrame) -> str:
    """GAINS as lines of text: for each score a table with a line for each stratum."""
    tables = []
    for score, digits in zip(SCORES, (2, 3), strict=True):
        form = f"+z.{digits}f"
        lines = [[f"{score} of held-out submissions", "n", "read", "alone", "gain", "the student's own"]]
        for row in gains.filter(score=score).iter_rows(named=True):
            gain = with_interval(row["gain"], row["low"], row["high"], form)
            own = (
                "-"
                if row["own"] is None
                else with_interval(row["own"], row["own_low"], row["own_high"], form)
            )
            numbers = [f"{row['submissions']:,}", f"{row['read']:.1f}", f"{row['alone']:.{digits}f}"]
            lines.append([row["stratum"], *numbers, gain, own])
        tables.append("\n".join(align(lines)))
    return "\n\n".join(tables)


def _difference(
    scored: pl.DataFrame, worse: str, better: str, students: pl.Series, weights: np.ndarray
) -> tuple[float | None, float | None, float | None]:
    """The mean of `worse` less `better`, where both are known, and its interval."""
    both = scored.drop_nulls([worse, better])
    if both.is_empty():
        return None, None, None
    owners = students.search_sorted(both["student"]).to_numpy()
    return cluster_mean((both[worse] - both[better]).to_numpy(), owners, weights)


def _written(messages: Sequence[Message]) -> int:
    return sum(message["role"] == "assistant" for message in messages)


def _energies(
    engine: LanguageModel,
    drawn: pl.DataFrame,
    histories: Sequence[Sequence[Dialog | None]],
    real: Sequence[str],
    config: ContextConfig,
    progress: bool,
) -> list[list[float | None]]:
    """The energy score of each submission's forecasts; null where there is no such history."""
    places = list(drawn.select("dialog_id", "start").iter_rows())
    asked = [
        (number, which, dialog)
        for number, of_one in enumerate(histories)
        for which, dialog in enumerate(of_one)
        if dialog is not None
    ]
    requests = [
        Request(dialog, 1.0, seed_of(config.seed, *places[number], sample))
        for number, _, dialog in asked
        for sample in range(config.samples)
    ]
    turns = complete(engine, requests, "forecasts" if progress else "")
    programs = [None if turn.program is None or gives_up(turn.program) else turn.program for turn in turns]
    forecasts = [
        [*programs[at * config.samples : (at + 1) * config.samples], real[number]]
        for at, (number, _, _) in enumerate(asked)
    ]
    scores: list[list[float | None]] = [[None] * len(HISTORIES) for _ in histories]
    for (number, which, _), distances in zip(asked, program_distances(forecasts), strict=True):
        scores[number][which] = _energy_score(distances)
    return scores


def _energy_score(distances: np.ndarray) -> float:
    """The fair energy score of the samples, from the matrix whose last row is the real program's."""
    n = len(distances) - 1
    return float(distances[:-1, -1].mean() - distances[:-1, :-1].sum() / (n * (n - 1)) / 2)

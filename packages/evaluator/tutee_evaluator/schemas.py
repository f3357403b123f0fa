"""What a rollout's rows hold, and the words in them."""

from enum import StrEnum
from typing import Any

import polars as pl

from tutee_grader.verdict import VERDICT_COLUMNS

# The baselines, with which skill is measured.
COPY = "copy"  # submits the last program again
NEAREST = "nearest"  # what followed the most similar programs of training students
TRANSITION = "transition"  # stays, or goes where training students of the same grade went
MIX = "mix"  # COPY and NEAREST, mixed
BASELINE_METHODS = (COPY, NEAREST, TRANSITION, MIX)


class Outcome(StrEnum):
    """The result of a step of a rollout."""

    PROGRAM = "program"  # a program, which was graded
    GAVE_UP = "gave up"  # a program that is empty or calls exit(), which was not graded
    UNREADABLE = "unreadable"  # a turn without a program; `status` gives the reason
    ENDED = "ended"  # the rollout was over, and the real student went on


class StopReason(StrEnum):
    """Why a rollout ended."""

    SOLVED = "solved"  # the program got grade 100
    GAVE_UP = "gave up"  # a program was empty or called exit()
    UNREADABLE = "unreadable"  # a turn held no program
    STEPS = "steps"  # the last step, or the real student's last submission, was reached


GREEDY = 0  # the sample whose turns are the likeliest ones; the others are drawn

# One row per rollout and step at which the real student submitted something, up to the last step:
# `submission_id` is that real submission. `start` and `step` count from 1; `sample` 0 is greedy. `repair`
# says what had to be forgiven to read the program, separated by commas; null: nothing. `status` is the
# grader's, or the reason why a turn could not be read. `nats` is the negative log-likelihood of the real
# submission after the real history, in the first row of a greedy rollout; null where the method has none.
_COLUMNS: dict[str, Any] = {
    "method": pl.String,
    "dialog_id": pl.String,
    "start": pl.Int64,
    "step": pl.Int64,
    "sample": pl.Int64,
    "code": pl.String,
    "outcome": pl.String,
    "repair": pl.String,
    **VERDICT_COLUMNS,
    "feedback": pl.String,
    "submission_id": pl.String,
    "nats": pl.Float64,
    "stop_reason": pl.String,
}
ROLLOUTS = pl.Schema(_COLUMNS)
ROLLOUTS_ORDER = ("dialog_id", "start", "sample", "step")

# One row per canary. `nats` is the negative log-likelihood of the turn with the secret, `rank` its place
# among the alternatives, from 1; these and `exposure` are null where the dialog is too long for the model.
EXPOSURES = pl.Schema(
    {
        "method": pl.String,
        "dialog_id": pl.String,
        "nats": pl.Float64,
        "rank": pl.Int64,
        "exposure": pl.Float64,
    }
)

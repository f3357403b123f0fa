"""What a rollout's rows hold, and the words in them."""

from enum import StrEnum
from typing import Any

import polars as pl

from tutee_grader.verdict import VERDICT_COLUMNS

COPY = "copy"  # the baseline that submits the last program again, with which skill is measured


class Outcome(StrEnum):
    """The result of a step of a rollout."""

    PROGRAM = "program"  # a program, which was graded
    UNREADABLE = "unreadable"  # a turn without a program; `status` gives the reason
    ENDED = "ended"  # the rollout was over, and the real student went on


class StopReason(StrEnum):
    """Why a rollout ended."""

    SOLVED = "solved"  # the program got grade 100
    UNREADABLE = "unreadable"  # a turn held no program
    STEPS = "steps"  # the last step was reached


# One row per step at which the rollout or the real student submitted something. `submission_id` is the
# real submission of that step. `repair` says what had to be forgiven to read the program, separated by
# commas; null: nothing. `status` is the grader's, or the reason why a turn could not be read.
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
    "stop_reason": pl.String,
}
ROLLOUTS = pl.Schema(_COLUMNS)

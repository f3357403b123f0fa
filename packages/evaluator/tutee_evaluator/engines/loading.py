"""The engine of a method: a baseline by its name, or else the student in a folder."""

from pathlib import Path
from typing import Any

import polars as pl

from tutee_evaluator.engines import Engine
from tutee_evaluator.engines.baselines import BASELINES
from tutee_evaluator.engines.transformers import Student
from tutee_grader.errors import InputError


def load_engine(method: str, folder: Path, dialogs: pl.DataFrame, **settings: Any) -> Engine:
    """The engine that rolls out `method`; `settings` are those of `Student`, for a student.

    A baseline reads `dialogs` (DIALOGS) with feedback, where there are any, and learns from them; the student
    in `folder` reads what its card says. Raises InputError where there are no dialogs or `folder` holds no
    student, and UnavailableError where its model cannot be loaded.
    """
    if method not in BASELINES:
        return Student.load(folder, **settings)
    with_feedback = dialogs.filter(pl.col("feedback") != "none")
    read = dialogs if with_feedback.is_empty() else with_feedback
    if read.is_empty():
        raise InputError("the table of dialogs is empty; the course's log gives nothing to roll out")
    format, feedback = read["format"][0], read["feedback"][0]
    return BASELINES[method](format, feedback, read.filter(format=format, feedback=feedback))

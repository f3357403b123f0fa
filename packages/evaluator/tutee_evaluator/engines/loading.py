"""The engine of a method: a baseline by its name, or else the student in a folder."""

from pathlib import Path

import polars as pl

from tutee_evaluator.engines import Engine, EngineConfig, gate
from tutee_evaluator.engines.baselines import BASELINES
from tutee_evaluator.engines.calibrated import Calibrated, TrainedStudent
from tutee_evaluator.engines.local import LocalStudent
from tutee_evaluator.engines.transformers import Student
from tutee_evaluator.engines.vllm import VllmStudent
from tutee_grader.errors import InputError


def load_student(folder: Path, config: EngineConfig) -> TrainedStudent:
    """The student in `folder`, mixed with look-ups where it was calibrated.

    Raises InputError and UnavailableError as the `load` of its class does.
    """
    student: LocalStudent
    if config.backend == "vllm":
        student = VllmStudent.load(folder, batch=config.batch)
    else:
        student = Student.load(folder, batch=config.batch, prefix_bytes=config.prefix_bytes)
    return Calibrated.load(student, folder) if (folder / gate.FILE).exists() else student


def load_engine(method: str, folder: Path, dialogs: pl.DataFrame, config: EngineConfig) -> Engine:
    """The engine that rolls out `method`; `config` is for a student.

    A baseline reads `dialogs` (DIALOGS) with feedback, where there are any, and learns from them; the student
    in `folder` reads what its card says. Raises InputError where there are no dialogs or `folder` holds no
    student, and UnavailableError where its model cannot be loaded.
    """
    if method not in BASELINES:
        return load_student(folder, config)
    with_feedback = dialogs.filter(pl.col("feedback") != "none")
    read = dialogs if with_feedback.is_empty() else with_feedback
    if read.is_empty():
        raise InputError("the table of dialogs is empty; the course's log gives nothing to roll out")
    format, feedback = read["format"][0], read["feedback"][0]
    return BASELINES[method](format, feedback, read.filter(format=format, feedback=feedback))

"""On which test set figures were made, and making them again for an older student."""

import hashlib
import json
from pathlib import Path

import polars as pl

from flows.parameters import Setup
from flows.pipeline import Pipeline
from flows.places import Places
from flows.telemetry import stay_off_the_hub
from tutee_evaluator.engines import Student
from tutee_evaluator.metrics import measure
from tutee_evaluator.pairing import pair
from tutee_evaluator.rollout import roll_out
from tutee_grader import Grader
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.serialize import serialize


def examination_of(setup: Setup, pipeline: Pipeline) -> str:
    """Names the test set, how students were rolled out on it, and how the rollouts were measured.

    Figures with the same name can be compared. The rollouts of COPY stand for the test set: they hold the
    real programs, the grader's verdicts and the starts, and no model has a hand in them.
    """
    parts = [
        pipeline.hash_of(pipeline.places.rollout("copy")),
        setup.parameters.rollout.model_dump_json(),
        setup.parameters.report.model_dump_json(),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def examine(folder: Path, setup: Setup, places: Places) -> pl.DataFrame:
    """METRICS of the student in `folder` on the course's present test set, in the student's own format."""
    stay_off_the_hub(setup.preset)
    card = StudentCard.load(folder)
    config = setup.parameters.rollout
    submissions = pl.read_parquet(places.submissions)
    verdicts = pl.read_parquet(places.verdicts)
    dialogs, _ = serialize(
        submissions, verdicts, setup.course, setup.parameters.serialize, card.format, card.feedback
    )
    student = Student.load(
        folder, temperature=config.temperature, seed=config.seed, batch=config.batch, progress=True
    )
    assignments, _ = setup.course.load_assignments()
    with Grader(cache=places.verdict_cache) as grader:
        rollouts = roll_out(
            card.method, student, dialogs, submissions, assignments, grader, config, progress=True
        )
    steps = pair(rollouts, dialogs, submissions, verdicts, progress=True)
    return measure(steps, setup.parameters.report)

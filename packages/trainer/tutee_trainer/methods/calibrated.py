"""CALIBRATED: the SFT student, mixed with look-ups at weights fitted on validation students."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from tutee_grader.files import atomic_dir, read_table
from tutee_grader.grader import Grader
from tutee_serializer.card import StudentCard
from tutee_serializer.schemas import DIALOGS
from tutee_trainer.method import Method
from tutee_trainer.preset import Count, MethodConfig
from tutee_trainer.training import TrainingJob, TrainingResult, check_start, silence_libraries


class CalibratedConfig(MethodConfig):
    """Section `calibrated`.

    The student writes `samples` turns after up to `starts` of the validation students' submissions. `penalty`
    is on the squares of the weights of what is known of the state; the larger it is, the more alike is the
    mixture everywhere.
    """

    starts: Count = 200
    samples: Annotated[int, Field(ge=2)] = 4
    penalty: Annotated[float, Field(ge=0)] = 0.0025
    seed: int = 0


def train(job: TrainingJob) -> TrainingResult:
    """Fits the weights (`tutee_evaluator.calibration`); the model stays as it is."""
    from tutee_evaluator.calibration.calibrate import calibrate
    from tutee_evaluator.engines import EngineConfig
    from tutee_evaluator.engines.baselines.revisions import read_revisions, save_revisions
    from tutee_evaluator.engines.loading import load_student

    started = time.perf_counter()
    config = job.preset.section("calibrated", CalibratedConfig)
    check_start(job, "sft")
    silence_libraries()
    student = load_student(job.start, EngineConfig())
    dialogs = read_table(job.data, DIALOGS, "serialize").filter(
        format=student.format, feedback=student.feedback
    )
    revisions = read_revisions(dialogs, "train")
    with Grader(cache=job.verdict_cache) as grader:
        gate, figures = calibrate(
            student,
            dialogs,
            revisions,
            job.assignments,
            grader,
            **config.model_dump(),
            progress=True,
        )
    if job.tracker:
        job.tracker.log(0, figures)
    with atomic_dir(job.output) as folder:
        shutil.copytree(job.start, folder, dirs_exist_ok=True)
        replace(StudentCard.load(job.start), method="calibrated").save(folder)
        save_revisions(revisions, folder)
        gate.save(folder)
    examples = sum(map(len, revisions.values()))
    seconds = time.perf_counter() - started
    return TrainingResult(
        job.output, examples, 0, 0, 0.0, seconds, f"{examples:,} revisions{_skills(figures)}"
    )


def _skills(figures: Mapping[str, float]) -> str:
    """What `cross_validate` found, in words."""
    if not figures:
        return ""
    of_mixture, of_model = (
        ", ".join(f"{score} {figures[f'{name}{score}_skill_over_mix']:+.2f}" for score in ("energy", "crps"))
        for name in ("", "model_")
    )
    return f", skill over MIX on other validation students: {of_mixture} (the model alone: {of_model})"


METHOD = Method(
    name="calibrated",
    start="sft",
    learns_from="dialogs",
    section="calibrated",
    config=CalibratedConfig,
    train=train,
    candidate=True,
    uses_grader=True,
    optional=True,
)

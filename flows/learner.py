"""Trains a learner to teach: its base, what SFT makes of the log's conversations, and the learner."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tutee_grader.errors import InputError
from tutee_serializer.card import FILE as CARD

if TYPE_CHECKING:
    from flows.parameters import Setup


def train_learner(setup: "Setup") -> Iterator[str]:
    """Trains what the preset asks for, each as a run of MLflow; gives a line on each when it is done.

    With `learner.start: sft` the log's conversations are written and trained on first. Raises InputError
    where the course has no topics, or no conversation to start from.
    """
    from tutee_trainer.learner.config import LearnerConfig

    config = setup.preset.section("learner", LearnerConfig)
    topics, places = setup.course.topics_file, setup.places
    with_sft = config.start == "sft"
    if with_sft:
        yield _write_conversations(setup)
    yield _train("base", setup, topics)
    if with_sft:
        yield _train("sft", setup, places.dialogs)
    yield _train("learner", setup, topics, places.model("sft") if with_sft else None)


def models_of(setup: "Setup") -> dict[str, Path]:
    """The models of a learner's preset: before, and after each training; raises InputError without them."""
    from tutee_trainer.learner.config import LearnerConfig

    places, start = setup.places, setup.preset.section("learner", LearnerConfig).start
    models = {name: places.model(name) for name in dict.fromkeys(("base", start, "learner"))}
    if missing := [str(folder) for folder in models.values() if not (folder / CARD).exists()]:
        raise InputError(
            f"{', '.join(missing)}: missing; run `tutee learner train {places.course} --preset "
            f"{places.preset}` first"
        )
    return models


def _train(method: str, setup: "Setup", data: Path, warm_start: Path | None = None) -> str:
    from flows.tracking import train
    from tutee_trainer.method import load_methods
    from tutee_trainer.training import TrainingJob

    places = setup.places
    job = TrainingJob(
        preset=setup.preset,
        course=setup.course.name,
        output=places.model(method),
        base=places.model("base"),
        start=places.model("base"),
        data=data,
        dialogs=places.dialogs,
        checkpoints=places.checkpoints(method),
        judgements=places.judgements,
        warm_start=warm_start,
    )
    inputs = [data, *(folder for folder in (job.base, warm_start) if folder and folder.exists())]
    return f"{method}: {train(load_methods()[method], job, places, inputs)}"


def _write_conversations(setup: "Setup") -> str:
    from tutee_grader.files import read_table, write_table
    from tutee_serializer.dialogs.conversations import serialize_conversations
    from tutee_serializer.schemas import SUBMISSIONS
    from tutee_trainer.learner.config import LearnerConfig

    places = setup.places
    system = setup.preset.section("learner", LearnerConfig).system
    submissions = read_table(places.submissions, SUBMISSIONS, f"ingest {setup.course.name}")
    dialogs = serialize_conversations(submissions, setup.course, setup.parameters.serialize, system)
    write_table(dialogs, places.dialogs)
    return f"conversations: {dialogs.height:,} -> {places.dialogs}"

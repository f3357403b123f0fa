"""Trains a learner to teach: its base, what SFT makes of the log's conversations, and the learner."""

from pathlib import Path
from typing import TYPE_CHECKING

from flows.places import Places
from tutee_grader.errors import InputError

if TYPE_CHECKING:
    from flows.parameters import Setup


def train_learner(setup: "Setup") -> None:
    """Trains what the preset asks for, each as a run of MLflow, and prints a line for each.

    The base is written once. With `learner.start: sft` the log's conversations are written and trained on
    first. Raises InputError where the course has no topics, or no conversation to start from.
    """
    from tutee_trainer.methods.learner import LearnerConfig

    config = setup.preset.section("learner", LearnerConfig)
    topics, places = setup.course.topics_file, setup.places
    with_sft = config.start == "sft"
    if with_sft:
        _write_conversations(setup)
    if not _is_there(places.model("base")):
        _train("base", setup, topics)
    if with_sft:
        _train("sft", setup, places.dialogs)
    _train("learner", setup, topics, places.model("sft") if with_sft else None)


def models_of(places: Places) -> dict[str, Path]:
    """The models of a learner's preset that are there: before, and after each training."""
    found = {name: places.model(name) for name in ("base", "sft", "learner") if _is_there(places.model(name))}
    if not {"base", "learner"} <= set(found):
        raise InputError(
            f"{places.models}: holds no trained learner; run `tutee learner train {places.course} --preset "
            f"{places.preset}` first"
        )
    return found


def _is_there(model: Path) -> bool:
    return (model / "student.json").exists()


def _train(method: str, setup: "Setup", data: Path, warm_start: Path | None = None) -> None:
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
    print(f"{method}: {train(load_methods()[method], job, places, inputs)}", flush=True)


def _write_conversations(setup: "Setup") -> None:
    from flows.commands.summary import count, summary_line
    from tutee_grader.files import read_table, write_table
    from tutee_serializer.dialogs.conversations import serialize_conversations
    from tutee_serializer.schemas import SUBMISSIONS
    from tutee_trainer.methods.learner import LearnerConfig

    places = setup.places
    system = setup.preset.section("learner", LearnerConfig).system
    with summary_line("conversations") as summary:
        submissions = read_table(places.submissions, SUBMISSIONS, f"ingest {setup.course.name}")
        dialogs = serialize_conversations(submissions, setup.course, setup.parameters.serialize, system)
        write_table(dialogs, places.dialogs)
        summary.text = f"{count(dialogs.height, 'conversations')} -> {places.dialogs}"

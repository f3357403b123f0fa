"""What artificial classes of a course are played with: its tables, the student, when students give up."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from flows.comparison import engine_maker
from flows.environment import disable_hub
from flows.finding import FoundStudent
from flows.parameters import Setup
from tutee_evaluator.engines import Engine
from tutee_evaluator.experiments.giving_up import GivingUp
from tutee_grader.files import read_table
from tutee_grader.verdict import VERDICTS
from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.serialize import serialize
from tutee_serializer.schemas import SUBMISSIONS

# All work in the log counts, also that of who solves a task at once, or leaves it at once.
_ALL = {
    "scope": "assignment",
    "min_logged": 1,
    "min_turns": 1,
    "min_final_grade": 0.0,
    "max_length_z": None,
    "canaries": 0,
}


@dataclass(frozen=True)
class Classroom:
    """A course's tables, the `engine` that plays the student, and its `dialogs` of all work in the log.

    `giving_up` is learnt from those of training students.
    """

    submissions: pl.DataFrame
    verdicts: pl.DataFrame
    dialogs: pl.DataFrame
    engine: Engine
    giving_up: GivingUp

    @classmethod
    def of(cls, student: FoundStudent, setup: Setup) -> "Classroom":
        """Reads the tables that `ingest` and `grade` wrote, and loads the student."""
        disable_hub(setup.preset)
        places = setup.places
        submissions = read_table(places.submissions, SUBMISSIONS, "ingest")
        verdicts = read_table(places.verdicts, VERDICTS, "grade")
        model = student.model
        reads = StudentCard.load(model) if isinstance(model, Path) else model
        config = setup.parameters.serialize.model_copy(update=_ALL)
        dialogs, _ = serialize(submissions, verdicts, setup.course, config, reads.format, reads.feedback)
        dialogs = dialogs.filter(feedback=reads.feedback)
        learnt = GivingUp.fit(dialogs.filter(split="train"))
        return cls(submissions, verdicts, dialogs, engine_maker(student, dialogs, setup)(), learnt)

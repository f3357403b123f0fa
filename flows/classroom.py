"""What artificial classes of a course are played with: its tables, the student, when students give up."""

from dataclasses import dataclass, replace

from flows.comparison import engine_maker
from flows.environment import disable_hub
from flows.finding import FoundStudent
from flows.parameters import Setup
from flows.tables import Tables
from tutee_evaluator.engines import Engine
from tutee_evaluator.experiments.giving_up import GivingUp

# All work in the log counts, also that of who solves a task at once, or leaves it at once.
_ALL = {
    "scope": "assignment",
    "min_logged": 1,
    "min_turns": 1,
    "min_final_grade": 0.0,
    "max_length_z": None,
    "canaries": 0,
}


def all_work(student: FoundStudent, setup: Setup) -> Tables:
    """The course's tables, with dialogs of all work in the log as the student reads them."""
    reads = student.reads
    tables = Tables.read(setup, reads, setup.parameters.serialize.model_copy(update=_ALL))
    return replace(tables, dialogs=tables.dialogs.filter(feedback=reads.feedback))


@dataclass(frozen=True)
class Classroom(Tables):
    """The tables of `all_work`, and the `engine` that plays the student.

    `giving_up` is learnt from the dialogs of training students.
    """

    engine: Engine
    giving_up: GivingUp

    @classmethod
    def of(cls, student: FoundStudent, setup: Setup) -> "Classroom":
        """Reads the tables that `ingest` and `grade` wrote, and loads the student."""
        disable_hub(setup.preset)
        tables = all_work(student, setup)
        learnt = GivingUp.fit(tables.dialogs.filter(split="train"))
        engine = engine_maker(student, tables.dialogs, setup)()
        return cls(tables.submissions, tables.verdicts, tables.dialogs, engine, learnt)

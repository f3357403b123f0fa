"""A course's tables as a student reads them: the dialogs are made now, in the student's own format."""

from dataclasses import dataclass
from typing import Protocol

import polars as pl

from flows.parameters import Setup
from tutee_grader.files import read_table
from tutee_grader.verdict import VERDICTS
from tutee_serializer.dialogs.levels import Feedback
from tutee_serializer.dialogs.selection import SerializeConfig
from tutee_serializer.dialogs.serialize import serialize
from tutee_serializer.schemas import SUBMISSIONS


class Reader(Protocol):
    """Whoever reads dialogs of one format and level of feedback: a student's card, an engine, an endpoint."""

    @property
    def format(self) -> str: ...

    @property
    def feedback(self) -> Feedback: ...


@dataclass(frozen=True)
class Tables:
    """SUBMISSIONS and VERDICTS of a course, and DIALOGS of the reader's level of feedback and of "none"."""

    submissions: pl.DataFrame
    verdicts: pl.DataFrame
    dialogs: pl.DataFrame

    @classmethod
    def read(cls, setup: Setup, reader: Reader, config: SerializeConfig | None = None) -> "Tables":
        """Reads what `ingest` and `grade` wrote; `config` takes the place of section `serialize`."""
        submissions = read_table(setup.places.submissions, SUBMISSIONS, "ingest")
        verdicts = read_table(setup.places.verdicts, VERDICTS, "grade")
        rules = config or setup.parameters.serialize
        dialogs, _ = serialize(submissions, verdicts, setup.course, rules, reader.format, reader.feedback)
        return cls(submissions, verdicts, dialogs)

"""A course's log, read without writing what stage ingest writes."""

import tempfile
from pathlib import Path

import polars as pl

from flows.parameters import Setup
from tutee_serializer import logs
from tutee_serializer.course import Course
from tutee_serializer.ingest.ingest import IngestResult, parse_log
from tutee_serializer.ingest.privacy import load_key, read_forgotten
from tutee_serializer.ingest.source import collect


def names_student(course: Course, simulated: Path, student: str) -> bool:
    """Whether a row of the course's log has this id, be the row usable or not.

    `simulated` is the log of the course's simulator, if it has one. Raises LogError where there is no log.
    """
    with tempfile.TemporaryDirectory() as scratch:
        rows = logs.read_log(course.log(simulated), Path(scratch)).rows
        theirs = rows.filter(pl.col("student").str.strip_chars() == student)
        return not theirs.select("student").head(1).collect().is_empty()


def read_log(setup: Setup, first_look: bool = False) -> IngestResult:
    """What stage ingest would make of the log; a course's simulator runs first, where it has one.

    `first_look` is that of `parse_log`.
    """
    places = setup.places
    if setup.course.simulator:
        collect(setup.course, places.inputs, places.simulated)
    return parse_log(
        setup.course,
        setup.parameters.ingest,
        load_key(places.key, places.accounts),
        read_forgotten(*places.forgotten_lists),
        places.simulated,
        first_look=first_look,
    )

"""A course's log, read without writing what stage ingest writes."""

from flows.parameters import Setup
from tutee_serializer.ingest.ingest import IngestResult, parse_log
from tutee_serializer.ingest.privacy import load_key, read_forgotten
from tutee_serializer.ingest.source import collect


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
        load_key(places.key),
        read_forgotten(places.forgotten),
        places.simulated,
        first_look=first_look,
    )

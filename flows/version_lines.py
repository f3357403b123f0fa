"""What `tutee status` says of a course's versions.

It is apart from the rest of the status because another process says it, beside it.
"""

from collections.abc import Iterator
from datetime import datetime

from flows import history
from flows.places import Places
from flows.registry import CHALLENGER, CHAMPION, Registry


def version_lines(places: Places) -> list[str]:
    """The lines, each with its heading."""
    return list(_lines(Registry(places)))


def local_time(seconds: float) -> str:
    """A time since 1970, by the clock of who asks."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M %Z}"


def _lines(registry: Registry) -> Iterator[str]:
    registry.fail_dead_runs()
    for alias in (CHAMPION, CHALLENGER):
        version = registry.get_by_alias(alias)
        yield f"{alias:11} {registry.describe(version) if version else 'none yet'}"
        if version:
            for time, text in history.events(version.tags):
                yield f"{'':11} {time}: {text.splitlines()[0]}"
    if versions := registry.versions():
        run = registry.client.get_run(versions[-1].run_id).info
        yield f"last run    {local_time(run.end_time / 1000)}, versions to {versions[-1].number}"

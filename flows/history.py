"""What happened to a registered version, as tags of it: at the gate, as champion, taken back; and by whom."""

import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import psutil

# Followed by the time in UTC: a tag an event, so that none is written over another.
EVENT = "event."


def event(text: str, tags: Mapping[str, str]) -> tuple[str, str]:
    """The tag of an event that happens now: its name and its value, which says who did it.

    `tags` are those that the version has. Events stay in order, and none is written over another, though the
    clock be set back: then an event bears the time of the one before it.
    """
    now = datetime.now(UTC)
    if before := max((name for name in tags if name.startswith(EVENT)), default=None):
        last = datetime.fromisoformat(before.removeprefix(EVENT))
        now = max(now, last + timedelta(microseconds=1))
    time = now.isoformat(timespec="microseconds").removesuffix("+00:00")
    return f"{EVENT}{time}Z", f"{text}\n(by {psutil.Process().username()} on {socket.gethostname()})"


def events(tags: Mapping[str, str]) -> list[tuple[str, str]]:
    """The events among a version's tags, the oldest first: the time to the second, and what happened."""
    found = sorted((name.removeprefix(EVENT), text) for name, text in tags.items() if name.startswith(EVENT))
    return [(f"{time[:10]} {time[11:19]} UTC", text) for time, text in found]


def as_markdown(tags: Mapping[str, str]) -> str:
    """The events, the latest first, for MLflow's page: the first line of each, what follows as it is."""
    entries = []
    for time, text in reversed(events(tags)):
        first, _, rest = text.partition("\n")
        *block, by = rest.split("\n")
        table = "\n\n```\n" + "\n".join(block) + "\n```" if block else ""
        entries.append(f"**{time}** {first} {by}{table}")
    return "\n\n".join(entries)

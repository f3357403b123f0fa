"""The log of what tutee did in a folder, for programs: a line of JSON for each event, and no student in it.

Errors are named by their type alone: the message of one may quote a program, or a row of the log.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from typing import Any

from flows.places import Places

MAX_BYTES, OLD_FILES = 1_000_000, 5
STARTED, DONE, UP_TO_DATE, REFUSED, FAILED = "started", "done", "up to date", "refused", "failed"


@contextmanager
def logged(places: Places, event: str, **about: str | int) -> Iterator[dict[str, Any]]:
    """Logs an event when its block ends: how, after how many seconds, and `about` it.

    The block may add to what is yielded, or set another `outcome` than DONE. Called with the lock of a
    retrain held, because the file is rotated by whoever writes to it.
    """
    line: dict[str, Any] = {"outcome": DONE, **about}
    started = time.monotonic()
    try:
        yield line
    except BaseException as error:
        line |= {"outcome": FAILED, "error": type(error).__name__}
        if code := getattr(error, "exit_code", None):
            line["exit_code"] = code
        raise
    finally:
        write(places, event, seconds=round(time.monotonic() - started, 3), **line)


def write(places: Places, event: str, **about: str | int | float) -> None:
    """Logs an event that happens now."""
    of = {"course": places.course, "preset": places.preset}
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event,
        **{name: value for name, value in of.items() if value},
        **about,
    }
    places.log.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(places.log, maxBytes=MAX_BYTES, backupCount=OLD_FILES, encoding="utf-8")
    handler.emit(logging.makeLogRecord({"msg": json.dumps(line)}))
    handler.close()

"""The one line in which a command says what it read and what it made."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Summary:
    """`text` is what the command did; the name and the time are put around it."""

    text = "done"


@contextmanager
def summary_line(name: str) -> Iterator[Summary]:
    """Prints `name: text, 12 s` when the block ends well."""
    started = time.monotonic()
    summary = Summary()
    yield summary
    seconds = time.monotonic() - started
    print(f"{name}: {summary.text}, {seconds:.{0 if seconds >= 10 else 1}f} s", flush=True)


def count(number: int, noun: str) -> str:
    """1,234 dialogs; 1 dialog."""
    return f"{number:,} {noun}" if number != 1 else f"1 {noun.removesuffix('s')}"

"""What this process and those it starts print, copied line by line to a log."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

OUT, ERROR = 1, 2
# A process that outlives the one that started it may hold the pipe's other end.
LAST_LINES_S = 5


@contextmanager
def copied(to: Callable[[str], None]) -> Iterator[None]:
    """Hands every line that is printed in the block to `to` as well.

    On a terminal, standard error is left alone: bars are drawn there.
    """
    with ExitStack() as stack:
        for descriptor in (OUT, ERROR) if not os.isatty(ERROR) else (OUT,):
            stack.enter_context(_copied(descriptor, to))
        yield


@contextmanager
def _copied(descriptor: int, to: Callable[[str], None]) -> Iterator[None]:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    original, (reading, writing) = os.dup(descriptor), os.pipe()
    os.dup2(writing, descriptor)
    os.close(writing)
    copier = threading.Thread(target=_copy, args=(reading, original, to), daemon=True)
    copier.start()
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(original, descriptor)
        copier.join(LAST_LINES_S)


def _copy(reading: int, original: int, to: Callable[[str], None]) -> None:
    with os.fdopen(reading, "rb") as lines, os.fdopen(original, "wb", buffering=0) as out:
        for line in lines:
            out.write(line)
            if text := line.decode(errors="replace").strip():
                to(text)

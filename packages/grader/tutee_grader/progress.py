"""Progress of long work: a bar on a terminal, else a line now and then."""

import io
import sys
from typing import Any

from tqdm import tqdm

LINE_EVERY_S = 30  # without a terminal
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit}, {elapsed} so far, {remaining} left"


def progress_bar(desc: str, total: int, unit: str, *, shown: bool = True, **more: Any) -> "tqdm[Any]":
    """A bar of tqdm's for `total` units of work, to be told of with `update`; `more` goes to tqdm.

    Where stderr is no terminal, a line every `LINE_EVERY_S` seconds; work that is done before has none.
    """
    if not shown or sys.stderr.isatty():
        return tqdm(desc=desc, total=total, unit=f" {unit}", disable=not shown, **more)
    return tqdm(
        desc=desc,
        total=total,
        unit=unit,
        bar_format=_LINE,
        file=_Lines(),
        delay=LINE_EVERY_S,
        mininterval=LINE_EVERY_S,
        maxinterval=LINE_EVERY_S,
        **more,
    )


class _Lines(io.StringIO):
    """What tqdm writes over and over at the start of a line, as lines of stderr."""

    def write(self, text: str) -> int:
        if line := text.strip():
            print(line, file=sys.stderr, flush=True)
        return len(text)

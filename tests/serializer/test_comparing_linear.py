"""Comparing two programs of a student takes time in proportion to their length, whatever they are."""

import time
from collections.abc import Callable

import pytest

from tutee_serializer.dialogs.changes import COMPARED
from tutee_serializer.dialogs.formats import Format, read_turn, write_turn
from tutee_serializer.dialogs.trees import same_tree

# What is repeated between the lines that differ and behind them.
REPEATED = {
    "an open string": ('x = "', '\\"'),
    "an open long string": ('"""', '\\"""'),
    "an open long string in other quotes": ("'''", "\\''' \\\"\"\""),
    "blank lines": ("0.5", "\n"),
    "commas": ("f(", ", "),
    "quotes": ("", "'"),
    "names": ("", "abc "),
    "names to rename": ("", "{number}a = "),
}


def cpu_s(work: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return min(times)


@pytest.mark.parametrize("kind", REPEATED)
@pytest.mark.parametrize("place", ["between", "behind"])
def test_telling_programs_apart(kind: str, place: str) -> None:
    begin, repeated = REPEATED[kind]

    def compared(n: int) -> float:
        text = begin + "".join(repeated.format(number=number) for number in range(n // len(repeated)))
        first, second = f"x = 1\n{text}\n", f"y = 1\n{text}\n"
        if place == "between":
            first, second = first + "a", second + "b"
        return cpu_s(lambda: same_tree(first, second))

    n = 2_000
    # n ** 2 would take 256 times as long.
    assert compared(16 * n) < 3 * 16 * compared(n)


@pytest.mark.parametrize("format", [Format.EDITS, Format.PLAIN_EDITS, Format.DUAL])
def test_writing_a_turn(format: Format) -> None:
    def written(lines: int) -> float:
        blank = "\n" * lines
        return cpu_s(lambda: write_turn(format, f"x{blank}x", f"y{blank}y"))

    n = 1_000
    assert n**2 > COMPARED
    assert written(16 * n) < 3 * 16 * written(n)


@pytest.mark.parametrize("format", [Format.EDITS, Format.PLAIN_EDITS, Format.DUAL])
def test_a_turn_of_very_many_lines_reads_back(format: Format) -> None:
    old, new = (name + "\n" * 1_000 + name for name in "xy")
    assert read_turn(format, old, write_turn(format, old, new)) == new

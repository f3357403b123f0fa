"""Comparing two programs of a student takes time in proportion to their length, whatever they are."""

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


@pytest.mark.usefixtures("cpu_limit")
@pytest.mark.parametrize("kind", REPEATED)
@pytest.mark.parametrize("place", ["between", "behind"])
def test_telling_programs_apart(kind: str, place: str) -> None:
    begin, repeated = REPEATED[kind]
    text = begin + "".join(repeated.format(number=number) for number in range(1_200_000 // len(repeated)))
    first, second = f"x = 1\n{text}\n", f"y = 1\n{text}\n"
    if place == "between":
        first, second = first + "a", second + "b"
    # These two are programs, which differ in the name of a variable; the others do not parse.
    assert same_tree(first, second) == (place == "behind" and kind in ("blank lines", "quotes"))


@pytest.mark.usefixtures("cpu_limit")
@pytest.mark.parametrize("format", [Format.EDITS, Format.PLAIN_EDITS, Format.DUAL])
def test_a_turn_of_very_many_lines_reads_back(format: Format) -> None:
    lines = 500_000
    assert lines**2 > COMPARED
    old, new = (name + "\n" * lines + name for name in "xy")
    assert read_turn(format, old, write_turn(format, old, new)) == new

"""Reading what a model writes takes time in proportion to its length, whatever it is."""

import contextlib

import pytest

from tutee_serializer.dialogs.formats import Format, TurnError, read_turn

# What a text begins with, what is repeated in it, and how it ends.
REPEATED = {
    "blanks behind a number": ("```\n1", " ", "x\n```"),
    "blanks behind a fence": ("```", " ", "`"),
    "newlines": ("<|1|>x", "\n", "x"),
    "blocks": ("", "```python\nx\n```\n", ""),
    "other blocks": ("", "```text\nx\n```\n", ""),
    "open blocks": ("", "```text\n", ""),
    "edits": ("```\n1|x\n", "|y\n", "```"),
    "marks": ("<|1|>x", "<|+|>y", ""),
    "angles": ("<|1|>", "<", "<|"),
    "thoughts": ("", "<think></think>", "x"),
    "hunks": ("```diff\n", "@@\n", "```"),
    "context": ("```diff\n@@\n", " x\n", "```"),
    "backslashes": ("```python\n<", "\\", "\n```"),
}


@pytest.mark.usefixtures("cpu_limit")
@pytest.mark.parametrize("format", list(Format))
@pytest.mark.parametrize("kind", REPEATED)
def test_reading_a_turn(kind: str, format: Format) -> None:
    begin, repeated, end = REPEATED[kind]
    with contextlib.suppress(TurnError):
        read_turn(format, "a\nb", begin + repeated * (1_000_000 // len(repeated)) + end)

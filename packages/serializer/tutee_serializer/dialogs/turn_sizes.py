"""How many tokens a student's turn takes in each format."""

from collections.abc import Callable, Iterable
from statistics import fmean

from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import Format, write_turn


def tokens_per_turn(
    dialogs: Iterable[Dialog], count: Callable[[str], int], edits: Format = Format.PLAIN_EDITS
) -> dict[str, float]:
    """The mean tokens of the dialogs' student's turns, if they were written in `code`, `dual` and `edits`.

    `count` gives the tokens of a text. `edits` is the format of edits that its tokenizer is made for:
    EDITS where it holds the `markers`, else PLAIN_EDITS. Empty where the dialogs have no student's turn.
    """
    steps = [(turn.previous, turn.program) for dialog in dialogs for turn in dialog.turns()]
    if not steps:
        return {}
    return {
        str(format): fmean(count(write_turn(format, previous, program)) for previous, program in steps)
        for format in (Format.CODE, Format.DUAL, edits)
    }

"""Cuts a dialog to a budget of tokens, from its oldest turns on."""

from collections.abc import Callable, Sequence
from itertools import accumulate

from tutee_serializer.dialogs.formats import TASK, Format, Message, read_turn, write_turn

STRIDE = 2  # student turns that go together


def truncate(messages: Sequence[Message], budget: int, count: Callable[[str], int]) -> list[Message]:
    """The dialog's system turn, task and most recent turns, cut to fit into `budget` tokens.

    Student turns go in twos, counted from the first: as a dialog grows, every other cut is at the place of
    the one before, and what a model has read need not be read again. That halves what is, for half a turn
    of context. Where no such cut fits, or it leaves no student turn to go on from, the cut that keeps the
    most turns is taken.

    `count` gives the tokens of one turn from its content, the chat template's markup included; it is
    asked once for each turn. `messages` is system, user (task), assistant, user, ..., and may end with
    either side; roles alternate in the cut where they do in `messages`. Of the turns that go, the last
    feedback stays, at the end of the task's turn: in the formats `edits` and `plain_edits` it shows the
    program that the next turn edits. Where a diff would come first (`dual`), the whole program is written
    instead. The shortest cut, the last student turn or none where a user's comes last, may still exceed
    `budget`.
    """
    sizes = [count(message["content"]) for message in messages]
    after = list(accumulate(reversed(sizes), initial=0))[::-1]  # after[i]: tokens of messages[i:]
    students = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    cuts = [*students[1:], *([len(messages)] if students and messages[-1]["role"] == "user" else [])]
    kept = list(messages)
    if after[0] <= budget or not cuts:
        return kept
    whole = _without_diffs(messages)
    written = sum(place < len(messages) - 1 for place in students)
    task, fitting = 1, None
    for gone, cut in enumerate(cuts, 1):
        # User turns between the student turn before the cut and the cut: feedback, or another task.
        between = range(max(place for place in (1, *students) if place < cut) + 1, cut)
        opening = [place for place in between if _is_task(messages[place])]
        if opening:
            task, between = opening[-1], range(opening[-1] + 1, cut)
        first = whole.get(cut)
        extra = 0 if first is None else count(first) - sizes[cut]
        texts = [messages[task]["content"], *(messages[place]["content"] for place in between)]
        kept = [messages[0], {**messages[task], "content": "\n\n".join(texts)}, *messages[cut:]]
        if first is not None:
            kept[2] = {**messages[cut], "content": first}
        if sizes[0] + sizes[task] + sum(sizes[place] for place in between) + after[cut] + extra <= budget:
            fitting = fitting or kept
            if gone % STRIDE == 0 and gone < written:
                return kept
    return fitting or kept


def fit(messages: Sequence[Message], budget: int, count: Callable[[str], int]) -> list[Message] | None:
    """The cut of `truncate`; None where even the shortest cut exceeds `budget` tokens."""
    kept = truncate(messages, budget, count)
    return kept if sum(count(message["content"]) for message in kept) <= budget else None


def _is_task(message: Message) -> bool:
    return message["role"] == "user" and message["content"].startswith(TASK)


def _without_diffs(messages: Sequence[Message]) -> dict[int, str]:
    """For the place of each diff, the turn with the whole program."""
    whole: dict[int, str] = {}
    if not any(m["role"] == "assistant" and m["content"].lstrip("`").startswith("diff\n") for m in messages):
        return whole
    program: str | None = None
    for place, message in enumerate(messages):
        if message["role"] == "assistant":
            program = read_turn(Format.DUAL, program, message["content"])
            turn = write_turn(Format.DUAL, None, program)
            if turn != message["content"]:
                whole[place] = turn
    return whole

"""What of a turn is shown while it is written is the beginning of its program, and stays."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.answers import answer, shown_so_far
from serving.conversation import Conversation
from tutee_evaluator.engines import Completion
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import write_turn

pieces = st.sampled_from(
    ["x = 1", "\n", "`", "```", "<", "\\", "<|im_end|>", "[/INST]", "[", "  ", "é", "|think>"]
)
programs = st.lists(pieces, max_size=12).map("".join) | st.text(max_size=30)


def conversation(format: str = "code", as_trained: bool = False) -> Conversation:
    return Conversation(Dialog.start(format, "summary", "Write `x`."), as_trained)


@settings(deadline=None, max_examples=200)
@given(programs)
@example("def f():\n    return '<|im_end|>'\n")
@example("a\n\n")
@example("")
def test_what_is_shown_of_a_program_is_its_beginning_and_grows(program: str) -> None:
    turn = write_turn("code", None, program)
    shown = [shown_so_far(conversation(), turn[:cut]) or "" for cut in range(len(turn) + 1)]
    assert all(program.startswith(one) for one in shown)
    assert all(later.startswith(earlier) for earlier, later in pairwise(shown))


def test_a_program_is_shown_while_it_is_written() -> None:
    turn = write_turn("code", None, "a = 1\nb = 2\n")
    assert shown_so_far(conversation(), turn[: turn.index("b") + 1]) == "a = 1\nb"


@pytest.mark.parametrize("format", ["edits", "plain_edits", "dual"])
def test_of_edits_nothing_is_shown_before_their_end(format: str) -> None:
    turn = write_turn(format, "x = 1\n" * 9, "x = 1\n" * 8 + "y\n")
    assert {shown_so_far(conversation(format), turn[:cut]) for cut in range(len(turn))} == {None}


def test_a_turn_as_it_was_trained_is_shown_as_it_is() -> None:
    assert shown_so_far(conversation("edits", as_trained=True), "<|+|>x") == "<|+|>x"


def test_a_program_that_is_cut_is_answered_as_far_as_it_goes() -> None:
    cut = Completion("```python\na = 1\nb =", None, "no end of turn", finish_reason="length")
    found = answer(conversation(), cut, [])
    assert (found.content, found.refusal, found.finish_reason) == ("a = 1\nb =", None, "length")


def test_edits_that_are_cut_are_no_program() -> None:
    cut = Completion("<|+|>", None, "no end of turn within 1 tokens", finish_reason="length")
    found = answer(conversation("edits"), cut, [])
    assert found.content is None and "no end of turn" in str(found.refusal)
    assert found.finish_reason == "length"

"""Edits in plain text: how they are spelled, and that nothing in a program can be taken for a mark."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import (
    Format,
    Reading,
    TurnError,
    feedback_turn,
    read_reply,
    read_turn,
    write_turn,
)

BEFORE = "def f(n):\n    x = n\n    y = 2\n    return x"
# Lines that look like marks of the format, like fences, or like nothing.
MARKS = ["|", "||", "|x", "1|x", "1|", "2,3|", "0a|x", "1d", "1,2d", "same", "a|", "d", "12|", " 1|x"]
OTHER = [
    "",
    " ",
    "\r",
    "```",
    "````",
    "```python",
    "`",
    "x = 1",
    "    y = 2",
    "\\",
    "<|im_end|>",
    "x\t",
    "\u2028",
]
LINES = st.sampled_from(MARKS + OTHER)
PROGRAMS = st.lists(LINES, min_size=1, max_size=12).map("\n".join)


def edits(after: str, before: str = BEFORE) -> str:
    """The edits in a turn, without their fences."""
    turn = write_turn("plain_edits", before, after)
    assert turn.startswith("```\n") and turn.endswith("\n```")
    return turn[4:-4]


def test_edits_are_spelled_as_documented() -> None:
    assert edits(BEFORE) == "same"
    assert edits(BEFORE.replace("x = n", "x = 1")) == "2|    x = 1"
    assert edits(BEFORE.replace("    y = 2\n", "")) == "3d"
    assert edits(BEFORE.replace("    x = n\n    y = 2\n", "")) == "2,3d"
    assert edits("# mine\n" + BEFORE) == "0a|# mine"
    assert edits(BEFORE + "\n") == "4a|"
    assert edits(BEFORE.replace("x = n\n    y = 2", "a = 1\n    b = 2\n    c = 3")) == (
        "2,3|    a = 1\n|    b = 2\n|    c = 3"
    )
    assert edits("# mine\n" + BEFORE.replace("y = 2", "y = 3")) == "0a|# mine\n3|    y = 3"


def test_feedback_shows_the_program_with_numbered_lines() -> None:
    assert feedback_turn("plain_edits", "Grade: 50", "a\n b\n") == "Grade: 50\n```\n1|a\n2| b\n3|\n```"
    assert feedback_turn("plain_edits", "", "a") == "```\n1|a\n```"


def test_a_turn_is_the_shorter_of_edits_and_the_whole_program() -> None:
    assert write_turn("plain_edits", None, "x = 1\n") == "```python\nx = 1\n\n```"
    assert write_turn("plain_edits", BEFORE, "print(1)") == "```\n1,4|print(1)\n```"
    other = "\n".join(f"print({number})" for number in range(30))
    assert write_turn("plain_edits", BEFORE, other).startswith("```python\nprint(0)\n")


@settings(max_examples=400, deadline=None)
@given(PROGRAMS, PROGRAMS)
@example("x", "x\n")
@example("x\n", "x")
@example("", " ")
def test_programs_of_marks_and_fences_read_back_exactly(before: str, after: str) -> None:
    turn = write_turn("plain_edits", before, after)
    assert read_reply("plain_edits", before, turn) == Reading(after)
    # Templates that strip a turn's ends change nothing.
    assert turn.strip() == turn
    shown = feedback_turn("plain_edits", "", after)
    assert shown.strip() == shown


@settings(max_examples=200, deadline=None)
@given(PROGRAMS, PROGRAMS, st.randoms(use_true_random=False))
def test_edits_in_any_order_are_the_same_program(before: str, after: str, chance) -> None:
    turn = write_turn("plain_edits", before, after)
    if not turn.startswith("```\n") or turn == "```\nsame\n```":
        return
    groups = re.split(r"\n(?=[0-9])", turn[4:-4])
    shuffled = list(groups)
    chance.shuffle(shuffled)
    reading = read_reply("plain_edits", before, "```\n" + "\n".join(shuffled) + "\n```")
    assert reading.program == after
    assert reading.repair == (None if shuffled == groups else "lines out of order")


@pytest.mark.parametrize(
    ("body", "program", "repair"),
    [
        ("3|c", "a\nb\nc", "a line past the end"),
        ("3|c\n4|d", "a\nb\nc\nd", "a line past the end"),
        ("3|c\n|d", "a\nb\nc\nd", "a line past the end"),
        ("3a|c", "a\nb\nc", "a line past the end"),
        ("2,3|c", "a\nc", "a line past the end"),
        (" 2|B", "a\nB", "blanks around a mark"),
        ("2d  ", "a", "blanks around a mark"),
        ("\n2|B\n", "a\nB", "blank lines around the edits"),
        ("1|A\n2|B", "A\nB", None),
        ("1a|c\n2|B", "a\nc\nB", None),
        ("2|B\n1a|c", "a\nc\nB", "lines out of order"),
        ("2a|c\n2a|d", "a\nb\nc\nd", None),
    ],
)
def test_edits_that_are_certain_are_read(body: str, program: str, repair: str | None) -> None:
    assert read_reply("plain_edits", "a\nb", f"```\n{body}\n```") == Reading(program, repair)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("4|d", "line 4 is not one of the program's 2"),
        ("0|x", "line 0"),
        ("3d", "line 3"),
        ("2|x\n2|y", "line 2 is edited twice"),
        ("1,2|x\n1a|y", "line 2 is edited twice"),
        ("2,1|x", "out of order"),
        ("2|x\ny = 3", "no edit: 'y = 3'"),
        ("2|x\n\n1|y", "no edit: ''"),
        ("|x\n2|y", r"no edit: '\|x'"),
        ("2d\n|x", r"no edit: '\|x'"),
        ("1,2a|x", r"no edit: '1,2a\|x'"),
        ("1-2|x", r"no edit: '1-2\|x'"),
        ("2 |x", r"no edit: '2 \|x'"),
        ("2|x\nsame", "no edit: 'same'"),
    ],
)
def test_edits_that_make_no_sense_are_refused_with_the_reason(body: str, reason: str) -> None:
    with pytest.raises(TurnError, match=reason):
        read_turn("plain_edits", "a\nb", f"```\n{body}\n```")


def test_edits_without_a_program_before_them_are_refused() -> None:
    with pytest.raises(TurnError, match="no program before it"):
        read_turn("plain_edits", None, "```\n1|x\n```")


def test_a_whole_program_is_read_with_or_without_its_tag() -> None:
    for before in (None, "a\nb"):
        assert read_reply("plain_edits", before, "```python\nx = 1\n```") == Reading("x = 1")
        assert read_reply("plain_edits", before, "```\nx = 1\n```") == Reading("x = 1", "no language tag")


def test_edits_without_any_fence_are_read() -> None:
    assert read_reply("plain_edits", "a\nb", "2|c\n|d\n") == Reading("a\nc\nd", "no fence")
    with pytest.raises(TurnError, match="no code block"):
        read_turn("plain_edits", "a\nb", "2|c\nThat is all.")


def test_a_dialog_of_plain_edits_cut_to_its_last_turn_still_shows_the_program() -> None:
    dialog = Dialog.start("plain_edits", "summary", "Write f.")
    for program in (BEFORE, BEFORE + "\n", BEFORE.replace("2", "3")):
        dialog.append(program, "Grade: 0")
    cut = dialog.truncated(0, len)
    numbered = "\n".join(f"{n}|{line}" for n, line in enumerate(dialog.previous.split("\n"), 1))
    assert [message["role"] for message in cut] == ["system", "user"]
    assert cut[1]["content"] == f"Task:\nWrite f.\n\nGrade: 0\n```\n{numbered}\n```"


def test_every_format_but_edits_of_marks_needs_no_token_of_its_own() -> None:
    turn = write_turn(Format.PLAIN_EDITS, BEFORE, BEFORE.replace("2", "3"))
    assert not re.search(r"<\|", turn + feedback_turn("plain_edits", "", BEFORE))

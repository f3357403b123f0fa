"""The one Dialog: what training reads, what rollouts and the service write."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutee_grader import Outcome, Status, TestResult, Verdict
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import Format, feedback_turn, system_turn, task_turn, write_turn

TASK = "Write `double(n)`, which returns n times two."
PROGRAMS = (
    "def double(n):\n    return n\n",
    "def double(n):\n    return n + 2\n",
    "def double(n):\n  return 2 * n\n",
)
FORMATS = list(Format)


def words(content: str) -> int:
    return len(content.split())


def written(format: str, programs: Sequence[str]) -> Dialog:
    """A dialog that ends with the student's last program, as a row of DIALOGS has it."""
    dialog = Dialog.start(format, "summary", TASK)
    for program in programs:
        dialog.append(program, f"Feedback on {len(program)} characters.")
    turns = [{"grade": 10.0 * at, "submission_id": f"s{at}"} for at in range(len(programs))]
    row = {"format": format, "feedback": "summary", "level": None, "dialog_id": "d"}
    return Dialog.from_row({**row, "messages": dialog.messages[:-1], "turns": turns})


@pytest.mark.parametrize("format", FORMATS)
def test_a_dialog_that_grows_has_the_turns_of_one_written_at_once(format: Format) -> None:
    dialog = Dialog.start(format, "summary", TASK)
    for program in PROGRAMS:
        dialog.append(program, "Try again.")
    expected = [system_turn(format), task_turn(format, TASK)]
    for before, program in zip((None, *PROGRAMS), PROGRAMS, strict=False):
        expected += [write_turn(format, before, program), feedback_turn(format, "Try again.", program)]
    assert [message["content"] for message in dialog.messages] == expected
    roles = ["system", "user", *(("assistant", "user") * len(PROGRAMS))]
    assert [message["role"] for message in dialog.messages] == roles


@pytest.mark.parametrize("format", FORMATS)
def test_turns_give_back_the_programs_with_their_grades(format: Format) -> None:
    turns = list(written(format, PROGRAMS).turns())
    assert [turn.program for turn in turns] == list(PROGRAMS)
    assert [turn.previous for turn in turns] == [None, *PROGRAMS[:-1]]
    assert [(turn.grade, turn.submission_id) for turn in turns] == [(0.0, "s0"), (10.0, "s1"), (20.0, "s2")]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_dialog_before_a_turn_goes_on_as_the_whole_one_did(format: Format, number: int) -> None:
    whole = written(format, PROGRAMS)
    cut = whole.before(number)
    assert cut.previous == (None, *PROGRAMS)[number - 1]
    length = len(cut.messages)
    cut.append(PROGRAMS[number - 1], "x")
    assert cut.messages[length] == whole.messages[length]
    assert len(whole.messages) == 2 * len(PROGRAMS) + 1  # untouched


def test_a_verdict_becomes_feedback_of_the_dialogs_level() -> None:
    tests = (TestResult("double(2)", Outcome.FAILED, "double(2) returned 2, expected 4"),)
    verdict = Verdict(0.0, Status.COMPILES, tests)
    silent, full = (Dialog.start("code", level, TASK) for level in ("none", "full"))
    for dialog in (silent, full):
        dialog.append(PROGRAMS[0], verdict)
    assert "expected 4" not in silent.messages[-1]["content"]
    assert full.messages[-1]["content"].endswith("- failed: double(2) returned 2, expected 4.")


def test_a_system_turn_of_the_callers_own_cannot_hold_markup() -> None:
    dialog = Dialog.start("code", "summary", TASK, system="Be <|im_end|> terse")
    assert "<|im_end|>" not in dialog.messages[0]["content"]


def test_work_on_a_new_task_begins_without_a_program() -> None:
    dialog = written("edits", PROGRAMS)
    dialog.messages.append({"role": "user", "content": task_turn("edits", "Another one.")})
    assert Dialog("edits", "summary", dialog.messages).previous is None


@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=8), budget=st.integers(20, 160))
@settings(max_examples=60, deadline=None)
def test_each_turn_stands_in_one_piece_that_fits(sizes: list[int], budget: int) -> None:
    programs = [" ".join(f"w{number}x{word}" for word in range(size)) for number, size in enumerate(sizes)]
    dialog = written("code", programs)
    pieces = list(dialog.pieces(budget, words))
    assert all(sum(words(message["content"]) for message in piece) <= budget for piece in pieces)
    turns = [message["content"] for message in dialog.messages if message["role"] == "assistant"]
    kept = [m["content"] for piece in reversed(pieces) for m in piece if m["role"] == "assistant"]
    assert len(kept) == len(set(kept))
    assert set(kept) <= set(turns)
    if budget >= 140:  # enough for the longest turn with all that goes with it
        assert kept == turns

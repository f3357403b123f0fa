"""What is read of turns that models write, what is forgiven, and what is refused as uncertain."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tutee_serializer.dialogs.formats import Reading, TurnError, read_reply, read_turn, write_turn

OLD = "a\nb\nc\nd\ne"
LINES = st.sampled_from(
    ["", "x = 1", "    y", "x", "    ", "<|", "`", "|", "-x", "+", " x", "@@", "2|", "\x85"]
)
PROGRAMS = st.lists(LINES, min_size=1, max_size=14).map("\n".join)
FENCED = pytest.mark.parametrize("format", ["code", "dual", "plain_edits"])


@st.composite
def small_changes(draw) -> tuple[str, str]:
    """A program of some lines and the same with one of them changed, so that a diff is written."""
    lines = draw(st.lists(LINES, min_size=4, max_size=14))
    at = draw(st.integers(0, len(lines) - 1))
    return "\n".join(lines), "\n".join([*lines[:at], draw(LINES) + "!", *lines[at + 1 :]])


# --- fences -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "program", "repair"),
    [
        ("```python\nx\n```", "x", None),
        ("```python\nx\n\n```", "x\n", None),
        ("````python\n```\nx\n```\n````", "```\nx\n```", None),
        ("```python\nx", "x", "no closing fence"),
        ("```python\nx\n", "x", "no closing fence"),
        ("```python\nx```", "x", "a fence behind the last line"),
        ("```python  \nx\n```  ", "x", "blanks after a fence"),
        ("```python\nx\n``` Done.", "x", "text after a fence"),
        ("```python\nx\n```Hope that helps!", "x", "text after a fence"),
        ("```python\nx\n````", "x", "a longer closing fence"),
        ("```Python\nx\n```", "x", "another language tag"),
        ("```python3\nx\n```", "x", "another language tag"),
        ("```\nx\n```", "x", "no language tag"),
        ("```python\r\nx\r\ny\r\n```\r\n", "x\ny", "blanks around the turn, Windows line ends"),
        ("\n```python\nx\n```\n", "x", "blanks around the turn"),
        ("Sure!\n```python\nx\n```\nDone.", "x", "text around the block"),
        ("```python\nx\n```\n```python\ny\n```", "y", "several blocks"),
        ("```python\nx\n```\nBetter:\n```python\ny", "x", "several blocks"),
        ("```\nx\n```\nBetter:\n```python\ny", "x", "several blocks, no language tag"),
        ("```python\nx\n```\nOutput:\n```\n3\n```", "x", "several blocks"),
        ("```text\n3\n```\n```python\nx\n```", "x", "text around the block"),
        ("````markdown\n```python\nx\n```\n````", "x", "text around the block"),
        ("```text\n3\n```python\nx\n```", "x", "text around the block"),
    ],
)
def test_a_program_in_a_block_is_read(content: str, program: str, repair: str | None) -> None:
    for format in ("code", "dual", "plain_edits"):
        assert read_reply(format, "a\nb", content) == Reading(program, repair)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no code block"),
        ("x = 1", "no code block"),
        ("```text\nx\n```", "no code block"),
        ("```python\n", "empty and not closed"),
        ("```python\nx\n```python\ny\n```", "begins inside another"),
        ("x = 1\n```\nThat is all.", "not closed, and has no tag"),
        ("```diff\n+x\n```", "but the format is|which lines"),
    ],
)
def test_a_turn_without_a_certain_block_is_refused(content: str, reason: str) -> None:
    for format in ("code", "dual", "plain_edits"):
        with pytest.raises(TurnError, match=reason):
            read_turn(format, "a\nb", content)


@FENCED
@settings(max_examples=100, deadline=None)
@given(PROGRAMS, PROGRAMS)
def test_line_ends_of_windows_prose_and_a_lost_fence_change_no_program(
    format: str, before: str, after: str
) -> None:
    turn = write_turn(format, before, after)
    assert read_turn(format, before, turn.replace("\n", "\r\n")) == after
    assert read_turn(format, before, f"Here it is.\n{turn}\nDone.") == after
    if after.strip():
        open_turn = turn.rstrip("`")
        assert read_turn(format, before, open_turn) == after
        assert read_reply(format, before, open_turn).repair == "no closing fence"


# --- thoughts ---------------------------------------------------------------------------------------


@FENCED
def test_a_thoughts_draft_is_never_the_submission(format: str) -> None:
    turn = "```python\nx\n```"
    draft = "```python\ndraft\n```"
    thought = "a thought before the turn"
    assert read_reply(format, "a", f"<think>\n{draft}\n</think>\n\n{turn}") == Reading("x", thought)
    assert read_reply(format, "a", f"{draft}\n</think>\n\n{turn}") == Reading("x", thought)
    assert read_reply(format, "a", f"<think>\n\n</think>\n\n{turn}") == Reading("x")
    for content in (f"<think>{draft}", f"{turn}<think>{draft}", f"<think>a</think><think>{turn}"):
        with pytest.raises(TurnError, match="thought without an end"):
            read_turn(format, "a", content)
    with pytest.raises(TurnError, match="no code block"):
        read_turn(format, "a", f"<think>{draft}</think>")


def test_a_tiny_models_edits_come_after_a_thought_too() -> None:
    assert read_reply("edits", "a", "<think>hm</think><|1|>b") == Reading("b", "a thought before the turn")


def test_a_program_may_speak_of_thoughts() -> None:
    program = "print('</think><think>')"
    assert read_turn("code", None, write_turn("code", None, program)) == program


# --- diffs ------------------------------------------------------------------------------------------


def diff(body: str) -> str:
    return f"```diff\n{body}\n```"


@pytest.mark.parametrize(
    ("body", "program", "repair"),
    [
        ("@@ -2,3 +2,3 @@\n b\n-c\n+X\n d", "a\nb\nX\nd\ne", None),
        ("@@ -1,3 +1,3 @@\n b\n-c\n+X\n d", "a\nb\nX\nd\ne", "other line numbers"),
        ("@@ -90,3 +90,3 @@\n b\n-c\n+X\n d", "a\nb\nX\nd\ne", "other line numbers"),
        ("@@ -2,9 +2,9 @@\n b\n-c\n+X\n d", "a\nb\nX\nd\ne", "other numbers of lines"),
        ("@@\n b\n-c\n+X\n d", "a\nb\nX\nd\ne", "a hunk header without numbers"),
        ("@@ ... @@\n b\n-c\n+X", "a\nb\nX\nd\ne", "a hunk header without numbers"),
        (" b\n-c\n+X", "a\nb\nX\nd\ne", "no hunk header"),
        ("--- old.py\n+++ new.py\n-c\n+X", "a\nb\nX\nd\ne", "names of files, no hunk header"),
        ("--- old.py\n+++ new.py\n@@ -3,1 +3,1 @@\n-c\n+X", "a\nb\nX\nd\ne", "names of files"),
        ("@@ -3 +3 @@\n-c\n+X", "a\nb\nX\nd\ne", "another hunk header"),
        ("@@ -2,2 +2,2 @@\n b  \n-c\n+X", "a\nb\nX\nd\ne", "other trailing blanks"),
        ("@@ -1,1 +1,1 @@\n-a\n+X\n@@ -5,1 +5,1 @@\n-e\n+Y", "X\nb\nc\nd\nY", None),
        ("@@\n-a\n+X\n@@\n-e\n+Y", "X\nb\nc\nd\nY", "a hunk header without numbers"),
        ("@@ -5,0 +6,1 @@\n+X", OLD + "\nX", None),
        ("@@ -0,0 +1,1 @@\n+X", "X\n" + OLD, None),
        ("@@ -3,1 +3,1 @@\n-c\n+X\n", "a\nb\nX\nd\ne", "blank lines around the diff"),
        (
            "@@ -3,1 +3,1 @@\n-c\n\\ No newline at end of file\n+X",
            "a\nb\nX\nd\ne",
            "a note on the last newline",
        ),
    ],
)
def test_a_diff_is_applied_where_its_content_fits(body: str, program: str, repair: str | None) -> None:
    assert read_reply("dual", OLD, diff(body)) == Reading(program, repair)


def test_trailing_blanks_in_context_stay_those_of_the_program() -> None:
    old = "a \n\nb\n    \nc"
    assert read_turn("dual", old, diff(" a\n\n-b\n+X\n \n c")) == "a \n\nX\n    \nc"


def test_a_place_with_the_same_blanks_comes_before_one_with_others() -> None:
    assert read_reply("dual", "x \na\nx", diff("@@\n-x\n+y")) == Reading(
        "x \na\ny", "a hunk header without numbers"
    )


def test_a_diff_in_a_block_without_a_tag_is_one() -> None:
    content = "```\n@@ -3,1 +3,1 @@\n-c\n+X\n```"
    assert read_reply("dual", OLD, content) == Reading("a\nb\nX\nd\ne", "no language tag")


TWICE = "x\na\nb\nc\nd\ne\nx\nf"  # "x" at lines 1 and 7


@pytest.mark.parametrize(("number", "program"), [(3, TWICE.replace("x", "y", 1)), (6, TWICE[:-3] + "y\nf")])
def test_of_two_places_the_one_nearest_to_the_number_is_taken(number: int, program: str) -> None:
    assert read_turn("dual", TWICE, diff(f"@@ -{number},1 +{number},1 @@\n-x\n+y")) == program


def test_a_place_after_the_hunk_before_is_taken() -> None:
    assert read_turn("dual", TWICE, diff("@@\n-d\n+D\n@@\n-x\n+y")) == "x\na\nb\nc\nD\ne\ny\nf"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("@@\n-x\n+y", "fits lines 1 and 7"),
        ("-x\n+y", "fits lines 1 and 7"),
        ("@@ -4,1 +4,1 @@\n-x\n+y", "fits lines 1 and 7"),  # as far from one as from the other
        ("@@ -2,1 +2,1 @@\n-z\n+y", "does not fit line 2"),
        ("@@\n-z\n+y", "fits nowhere"),
        ("@@\n-f\n+y\n@@\n-a\n+y", "fits nowhere"),  # hunks out of order
        ("+y", "between which lines"),
        ("@@ -3,1 +3,2 @@\n+y", "between which lines"),
        ("@@ -99,0 +99,1 @@\n+y", "does not fit the program's 8 lines"),
        ("@@ -1,1 +1,1 @@", "without a hunk"),
        ("", "without a hunk"),
        ("note\n@@ -1,1 +1,1 @@\n-x\n+y", "no hunk before 'note'"),
        ("@@ -1,1 +1,1 @@\n-x\ny", "neither context nor change: 'y'"),
    ],
)
def test_a_diff_that_is_not_certain_is_refused(body: str, reason: str) -> None:
    with pytest.raises(TurnError, match=reason):
        read_turn("dual", TWICE, diff(body))


@settings(max_examples=300, deadline=None)
@given(small_changes(), st.sampled_from(["@@", "@@ ... @@", "@@ def f(): @@", None]))
def test_a_diff_without_numbers_is_the_same_program_or_refused(pair: tuple[str, str], header: str) -> None:
    before, after = pair
    turn = write_turn("dual", before, after)
    assume(turn.startswith("```diff") and not turn.endswith("\n \n```"))
    lines = turn.split("\n")
    try:
        program = read_turn("dual", before, "\n".join([lines[0], *([header] if header else []), *lines[2:]]))
    except TurnError as error:
        assert "fits lines" in str(error)
    else:
        assert program == after


# --- edits of marks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "program", "repair"),
    [
        ("<|2|>X", "a\nX", None),
        ("<|2|>X\n", "a\nX", "newlines"),
        ("\n<|2|>X", "a\nX", "blanks around the turn"),
        ("<|1|>X\n<|2|>Y", "X\nY", "newlines"),
        ("<|2|>Y<|1|>X", "X\nY", "lines out of order"),
        ("<|2|><|-|> <|1|>X", "X", "blanks after a mark, lines out of order"),
        ("<|3|>c", "a\nb\nc", "a line past the end"),
        ("<|same|> ", "a\nb", "blanks around the turn"),
        ("```python\nx\n```", "x", "a whole program in a fence"),
    ],
)
def test_edits_of_marks_that_are_certain_are_read(content: str, program: str, repair: str | None) -> None:
    assert read_reply("edits", "a\nb", content) == Reading(program, repair)


def test_edits_of_marks_and_a_fence_are_not_certain() -> None:
    with pytest.raises(TurnError, match="no edit at character 0"):
        read_turn("edits", "a\nb", "```python\nx\n```<|2|>X")
    with pytest.raises(TurnError, match="a diff"):
        read_turn("edits", "a\nb", "```diff\n-a\n+b\n```")

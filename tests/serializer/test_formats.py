import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tutee_serializer.course import Course
from tutee_serializer.dialogs.formats import (
    Format,
    Reading,
    TurnError,
    feedback_turn,
    markers,
    read_reply,
    read_turn,
    system_turn,
    task_turn,
    write_turn,
)
from tutee_serializer.dialogs.markup import escape
from tutee_serializer.ingest.ingest import IngestConfig, parse_log
from tutee_serializer.ingest.source import collect

KEY = b"a key only for tests"

COURSES = Path(__file__).parents[2] / "courses"
FORMATS = list(Format)
# Lines that break formats: markup of ours and of chat templates, fences, diffs, odd blanks.
BLANKS = ["", " ", "\t", "\r", "\f", "\x00", "\u2028", "\x85"]
MARKUP = [
    "<|im_end|>",
    "<|im_start|>user",
    "<\\|im_end|>",
    "<\\\\|",
    "<|3|>",
    "<|+|>",
    "<|same|>",
    "<",
    "|>",
    "\\",
]
FENCES = [
    "```",
    "````python",
    "@@ -1,2 +1,2 @@",
    "--- a",
    "+++ b",
    "-x",
    "2|",
    "|",
    "1,2|x",
    "0a|",
    "1d",
    "same",
    "+x",
    " x",
    "\\ No newline at end of file",
]
WORDS = ["x = 1", "    return x", "é", "😀", "Task:", "<think>", "</think>"]
PIECES = st.one_of(st.sampled_from(BLANKS + MARKUP + FENCES + WORDS), st.text(max_size=12))
PROGRAMS = st.lists(st.lists(PIECES, max_size=3).map("".join), max_size=9).map("\n".join)


@st.composite
def pairs(draw):
    """A program and the next: some lines replaced, dropped or added, or another program at all."""
    before = draw(PROGRAMS)
    if draw(st.booleans()):
        return before, draw(PROGRAMS)
    lines = before.split("\n")
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines)))
        lines[at : at + draw(st.integers(0, 2))] = draw(st.lists(PIECES, max_size=2))
    return before, "\n".join(lines)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=150, deadline=None)
@given(pairs())
@example(("", ""))
@example(("", "\n"))
@example(("\n", ""))
@example(("a\n", "a"))
@example(("a\nb\n\n\nc\td\r\n\f", "a\n\nb\n\nc\td\n\f"))
def test_a_written_turn_reads_back_as_the_same_program(format, pair):
    before, after = pair
    # Without a repair: what the format says is never forgiven.
    assert read_reply(format, before, write_turn(format, before, after)) == Reading(after)
    assert read_reply(format, None, write_turn(format, None, after)) == Reading(after)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=100, deadline=None)
@given(pairs())
def test_no_turn_holds_a_chat_templates_markup_or_begins_with_a_blank(format, pair):
    before, after = pair
    turns = [
        task_turn(format, before),
        feedback_turn(format, before, after),
        feedback_turn(format, "", after),
        write_turn(format, before, after),
        write_turn(format, None, after),
    ]
    for turn in turns:
        assert not re.search(r"<\|im_(start|end)\||</?think>", turn)
        assert turn[0] == turn.lstrip()[0]
    if format is not Format.EDITS:  # which no template sees that strips a turn's ends
        assert all(turn == turn.strip() for turn in turns[1:])


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=150, deadline=None)
@given(st.one_of(st.none(), PROGRAMS), st.data())
def test_any_text_is_a_program_or_a_turn_error(format, before, data):
    edit = st.sampled_from(["1|", "\n2|", "\n1,2d", "\n3a|x", "\n|", "0a|", "```\n", "\nsame"])
    mark = st.sampled_from(["<|1|>", "<|2|>", "<|0|>", "<|99999|>", "<|to|>", "<|-|>", "<|after|>", "<|+|>"])
    fence = st.sampled_from(
        ["```python\n", "```diff\n", "\n```", "@@ -1 +1 @@\n", "@@ -0,0 +1 @@\n", "@@\n", "-a\n"]
    )
    text = "".join(data.draw(st.lists(st.one_of(mark, edit, fence, PIECES), max_size=12)))
    try:
        program = read_turn(format, before, text)
    except TurnError as error:
        assert str(error)
    else:
        assert isinstance(program, str)


@settings(max_examples=100, deadline=None)
@given(PROGRAMS)
def test_escaping_keeps_texts_apart(text):
    assert escape(text) == text or escape(escape(text)) != escape(text)


def test_edits_are_spelled_as_documented():
    before = "def f(n):\n    x = n\n    y = 2\n    return x"

    def edits(after):
        return write_turn("edits", before, after)

    assert edits(before) == "<|same|>"
    assert edits(before.replace("x = n", "x = 1")) == "<|2|>    x = 1"
    assert edits(before.replace("    y = 2\n", "")) == "<|3|><|-|>"
    assert edits("# mine\n" + before) == "<|0|><|after|># mine"
    assert edits(before + "\n") == "<|4|><|after|>"
    assert (
        edits("def f(n):\n    a\n    b\n    c\n    return x") == "<|2|><|to|><|3|>    a<|+|>    b<|+|>    c"
    )
    assert edits("print(1)\n") == "<|+|>print(1)<|+|>"
    assert feedback_turn("edits", "Grade: 50", "a\n b") == "Grade: 50\n<|1|>a<|2|> b"
    assert feedback_turn("edits", "", "a") == "<|1|>a"


def test_every_marker_that_edits_write_is_a_listed_token():
    before = "\n".join(f"x{n} = {n}" for n in range(60))
    after = before.replace("x3 = 3\nx4 = 4", "y\nz\ny").replace("x9 = 9\n", "") + "\nend"
    turns = [
        write_turn("edits", before, before),
        write_turn("edits", None, before),
        write_turn("edits", before, after),
        feedback_turn("edits", "", before),
    ]
    written = {mark for turn in turns for mark in re.findall(r"<\|[^|]*\|>", turn)}
    assert written <= set(markers("edits"))
    assert markers("code") == markers("dual") == markers("plain_edits") == ()


def test_markers_cannot_stand_in_ordinary_python():
    for mark in markers("edits"):
        with pytest.raises(SyntaxError):
            ast.parse(f"a {mark} b")


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ("", "empty"),
        ("x = 1", "no edit at character 0"),
        ("<|9|>x", "line 9"),
        ("<|0|>x", "line 0"),
        ("<|2|>x<|2|>y", "edited twice"),
        ("<|2|><|to|><|1|>x", "out of order"),
        ("<|1|><|same|>", "no edit"),
    ],
)
def test_edits_that_make_no_sense_are_refused_with_the_reason(turn, reason):
    with pytest.raises(TurnError, match=reason):
        read_turn("edits", "a\nb", turn)


def test_dual_writes_a_diff_only_for_one_small_hunk():
    before = "\n".join(f"x{n} = {n}" for n in range(30))

    def is_diff(after):
        return write_turn("dual", before, after).startswith("```diff\n@@ ")

    assert is_diff(before.replace("x7 = 7", "x7 = 8"))
    assert not is_diff(before.replace("x7 = 7", "y").replace("x27 = 27", "z"))  # two hunks
    assert not is_diff("\n".join(["y"] * 15) + before[before.index("\nx15") :])  # half of the lines
    assert not is_diff(before)
    assert not write_turn("dual", None, before).startswith("```diff")


def test_a_diff_that_does_not_fit_is_refused():
    turn = write_turn("dual", "a\nb\nc\nd\ne", "a\nb\nX\nd\ne")
    assert read_turn("dual", "a\nb\nc\nd\ne", turn) == "a\nb\nX\nd\ne"
    with pytest.raises(TurnError, match="does not fit line 3"):
        read_turn("dual", "a\nb\nnot c\nd\ne", turn)


def test_a_block_among_prose_is_found():
    assert read_turn("code", None, "Sure!\n```python\nx = 1\n```\nDone.") == "x = 1"
    with pytest.raises(TurnError, match="no code block"):
        read_turn("code", None, "x = 1")


def test_a_program_with_fences_survives():
    program = 'print("""\n```\n````python\n""")\n'
    assert read_turn("code", None, write_turn("code", None, program)) == program


def test_only_a_task_turn_begins_like_a_task():
    for format in FORMATS:
        assert task_turn(format, "Add two numbers.").startswith("Task:\n")
        assert not feedback_turn(format, "Task:\nnot a task", "x").startswith("Task:\n")


def test_each_format_has_a_system_turn_and_edits_the_shortest():
    turns = {format: system_turn(format) for format in FORMATS}
    assert len(set(turns.values())) == len(FORMATS)
    assert min(turns.values(), key=len) == turns[Format.EDITS]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["demo", "dublin"])
def test_every_pair_of_both_courses_reads_back(name, tmp_path):
    file = COURSES / name / "course.yaml"
    path = yaml.safe_load(file.read_text())["logs"].get("path")
    if path and not (file.parent / path).exists():
        pytest.skip(f"the log of {name} is not on this machine: {path}, seen from {file}")
    course, simulated = Course.load(file), tmp_path / "log.csv"
    if course.simulator:  # a small class of the same synthetic students
        students = dict.fromkeys(course.simulator.students, 15)
        course = course.model_copy(
            update={"simulator": course.simulator.model_copy(update={"students": students})}
        )
    collect(course, tmp_path / "inputs.json", simulated)
    log = parse_log(course, IngestConfig(), KEY, simulated=simulated).submissions.sort(
        "semester", "student", "assignment", "order"
    )
    trajectories = log.group_by("semester", "student", "assignment", maintain_order=True).agg("code")["code"]
    pairs = {pair for codes in trajectories for pair in pairwise([None, *codes])}
    assert len(pairs) > 500
    for format in FORMATS:
        for before, after in pairs:
            assert read_reply(format, before, write_turn(format, before, after)) == Reading(after)

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutee_serializer.dialogs.formats import (
    TASK,
    Format,
    feedback_turn,
    read_turn,
    system_turn,
    task_turn,
    write_turn,
)
from tutee_serializer.dialogs.truncation import truncate

LINES = st.lists(st.sampled_from(["x = 1", "    y", "", "return 2", "é" * 30]), max_size=12)
PIECES = st.lists(st.lists(LINES.map("\n".join), min_size=1, max_size=6), min_size=1, max_size=3)


def dialog(format, assignments):
    """A dialog over one or more assignments, each a list of programs; ends with a student's turn."""
    messages = [{"role": "system", "content": system_turn(format)}]
    for number, programs in enumerate(assignments):
        messages.append({"role": "user", "content": task_turn(format, f"Task number {number}")})
        previous = None
        for step, program in enumerate(programs):
            if previous is not None:
                content = feedback_turn(format, f"Grade: {step}", previous)
                messages.append({"role": "user", "content": content})
            messages.append({"role": "assistant", "content": write_turn(format, previous, program)})
            previous = program
        if number + 1 < len(assignments):
            messages.append({"role": "user", "content": "Grade: 100"})
    return messages


def count(content):
    return len(content.split()) + 5


def size(messages):
    return sum(count(message["content"]) for message in messages)


def replay(format, messages):
    """The programs of a dialog that may begin in the middle, from nothing but its messages."""
    programs, previous = [], None
    for message in messages[1:]:
        if message["role"] == "user":
            if message["content"].startswith(TASK):
                previous = None
            if format == "edits" and "<|1|>" in message["content"]:
                numbered = message["content"][message["content"].index("<|1|>") :]
                previous = "\n".join(re.split(r"<\|[0-9]+\|>", numbered)[1:])
            if format == "plain_edits" and "```\n1|" in message["content"]:
                numbered = message["content"].rpartition("```\n1|")[2].removesuffix("\n```")
                previous = re.sub(r"\n[0-9]+\|", "\n", numbered)
        else:
            previous = read_turn(format, previous, message["content"])
            programs.append(previous)
    return programs


@pytest.mark.parametrize("format", list(Format))
@settings(max_examples=100, deadline=None)
@given(assignments=PIECES, budget=st.integers(0, 300), prompt=st.booleans())
def test_a_cut_keeps_the_task_and_programs_and_fits(format, assignments, budget, prompt):
    messages = dialog(format, assignments)
    programs = [program for piece in assignments for program in piece]
    if prompt:
        messages.append({"role": "user", "content": feedback_turn(format, "Grade: 7", programs[-1])})
    cut = truncate(messages, budget, count)
    roles = [message["role"] for message in cut]
    kept = roles.count("assistant")
    assert cut[0] == messages[0]
    assert roles[1] == "user" and cut[1]["content"].startswith(TASK)
    assert ("assistant", "assistant") not in pairwise(roles)
    if len(assignments) == 1:
        assert ("user", "user") not in pairwise(roles)
    # Every program that is kept can be read from the cut alone, and is one of the most recent.
    assert replay(format, cut) == programs[len(programs) - kept :]
    assert size(cut) <= budget or kept == (0 if prompt else 1)
    # The task is the one that the first turn kept belongs to.
    number = next(n for n, _ in enumerate(assignments) if sum(map(len, assignments[n + 1 :])) < max(kept, 1))
    assert cut[1]["content"].startswith(f"Task:\nTask number {number}")


@settings(max_examples=100, deadline=None)
@given(assignments=PIECES, budget=st.integers(0, 300), opened=st.booleans())
def test_a_task_goes_with_the_last_of_its_turns_but_for_the_present_one(assignments, budget, opened):
    messages = dialog(Format.CODE, assignments)
    if opened:  # the student is about to begin another one
        messages += [
            {"role": "user", "content": "Grade: 100"},
            {"role": "user", "content": task_turn(Format.CODE, "The last task")},
        ]
    present = [message["content"] for message in messages if message["content"].startswith(TASK)][-1]

    cut = truncate(messages, budget, count)

    tasks = [place for place, message in enumerate(cut) if message["content"].startswith(TASK)]
    assert cut[tasks[-1]]["content"].startswith(present)
    for task, following in pairwise(tasks):
        assert any(message["role"] == "assistant" for message in cut[task:following])


@pytest.mark.parametrize("format", list(Format))
def test_two_more_turns_would_not_fit(format):
    messages = dialog(format, [[f"x = {n}\ny\nz\nw\nv" for n in range(9)]])
    kept = {}
    for budget in range(size(messages) + 1):
        cut = truncate(messages, budget, count)
        number = sum(message["role"] == "assistant" for message in cut)
        kept.setdefault(number, (budget, size(cut)))
    # Two go at once, as long as the last turn has one before it.
    assert sorted(kept) == [1, 2, 3, 5, 7, 9]
    # A number of turns appears as soon as they fit. The sum of the turns' tokens counts the markup of the
    # feedback that joins the task's turn, the joined turn does not: 5 tokens of ours.
    assert all(0 <= budget - tokens <= 5 for number, (budget, tokens) in kept.items() if number > 1)


@pytest.mark.parametrize("format", ["code", "edits", "plain_edits"])
def test_every_other_prompt_of_a_growing_dialog_begins_with_the_one_before(format):
    messages = dialog(format, [[f"x = {n}\ny\nz\nw\nv" for n in range(10, 40)]])
    budget = size(messages[:15])
    prompts = [truncate(messages[:end], budget, count) for end in range(2, len(messages), 2)]
    goes_on = [after[: len(before)] == before for before, after in pairwise(prompts)]
    cut = goes_on.index(False)
    assert 4 < cut < 10
    # By turns, from the second cut on: the first makes less room, as its feedback joins the task's turn.
    assert all(one != other for one, other in pairwise(goes_on[cut + 1 :]))


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=8),
    budget=st.integers(0, 300),
    prompt=st.booleans(),
)
def test_a_cut_fits_where_any_does_and_loses_at_most_one_turn_more_than_it_must(lengths, budget, prompt):
    messages = dialog("code", [[f"x = {n}\n" + "y " * length for n, length in enumerate(lengths)]])
    if prompt:
        messages.append({"role": "user", "content": "Grade: 7"})
    turns, before_the_last = len(lengths), len(lengths) - (not prompt)
    # Of n turns that go, the feedback on the last stays.
    sizes = [size(messages), *(size(messages[:2] + messages[2 * n + 1 :]) for n in range(1, turns + prompt))]
    fitting = [n for n, tokens in enumerate(sizes) if tokens <= budget]
    gone = turns - sum(message["role"] == "assistant" for message in truncate(messages, budget, count))
    assert gone in fitting or (not fitting and gone == len(sizes) - 1)
    if fitting and fitting[0] < before_the_last:
        assert gone <= min(fitting[0] + 1, before_the_last - 1)
    elif fitting:
        assert gone == fitting[0]


def test_a_dialog_within_the_budget_stays_as_it_is():
    messages = dialog("edits", [["a", "b", "c"]])
    assert truncate(messages, size(messages), count) == messages
    assert truncate(messages, size(messages) - 1, count) != messages


def test_the_last_feedback_joins_the_tasks_turn():
    messages = dialog("edits", [["a", "b", "c"]])
    cut = truncate(messages, 0, count)
    assert [message["role"] for message in cut] == ["system", "user", "assistant"]
    assert cut[1]["content"] == "Task:\nTask number 0\n\nGrade: 2\n<|1|>b"


def test_a_diff_does_not_come_first():
    programs = ["\n".join(f"x{n} = {n * step}" for n in range(9)) for step in (1, 1)]
    programs[1] = programs[1].replace("x3 = 3", "x3 = 4")
    messages = dialog("dual", [programs])
    assert messages[-1]["content"].startswith("```diff")
    assert truncate(messages, 0, count)[-1]["content"] == f"```python\n{programs[1]}\n```"


@pytest.mark.parametrize("format", ["code", "edits", "plain_edits"])
def test_each_turn_is_counted_once(format):
    messages = dialog(format, [[f"x = {n}" for n in range(20)]])
    counted = []
    truncate(messages, 50, lambda content: counted.append(content) or count(content))
    assert counted == [message["content"] for message in messages]


def test_a_first_turn_has_nothing_to_cut():
    messages = dialog("code", [["x"]])
    assert truncate(messages, 0, count) == messages
    assert truncate(messages[:2], 0, count) == messages[:2]

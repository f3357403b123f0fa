"""Renaming changes variables everywhere and nothing else."""

from collections.abc import Callable
from dataclasses import replace

from tutee_serializer.dialogs.dialog import Dialog
from tutee_trainer.tiny.renaming import Renaming, bound_names, rename


def test_names_change_everywhere_and_edits_still_apply(make_dialog: Callable[..., Dialog]) -> None:
    programs = [
        ("def f(items):\n    total = 0\n    for x in items:\n        total += x.total\n", 0.0),
        (
            "def f(items):\n    total = 1\n    for x in items:\n        total += x.total\n    return total\n",
            50.0,
        ),
    ]
    dialog = make_dialog(programs)
    names = {"items": "marks", "total": "s", "x": "total"}
    other = replace(dialog, messages=rename(dialog.messages, names))
    expected = [
        "def f(marks):\n    s = 0\n    for total in marks:\n        s += total.total\n",
        "def f(marks):\n    s = 1\n    for total in marks:\n        s += total.total\n    return s\n",
    ]
    assert [turn.program for turn in other.turns()] == expected
    assert other.messages[:2] == dialog.messages[:2]  # system and task keep their words
    assert "Grade 0." in other.messages[3]["content"]
    assert bound_names(programs[0][0]) == {"items", "total", "x"}


def test_feedback_is_renamed_only_where_it_quotes() -> None:
    messages = [
        {"role": "system", "content": "x"},
        {"role": "user", "content": "line x: name 'x'\n<|1|>x = 1"},
    ]
    assert rename(messages, {"x": "y"})[1]["content"] == "line x: name 'y'\n<|1|>y = 1"


def test_new_names_are_those_of_other_students(make_dialog: Callable[..., Dialog]) -> None:
    own = make_dialog([("total = 1\n", 0.0), ("total = 2\n", 50.0)])
    other = make_dialog([("marks = 1\n", 0.0), ("marks = 3\n", 50.0)])
    renaming = Renaming([own, other], seed=0)
    programs = set()
    for _ in range(20):
        renamed = replace(own, messages=renaming(own.messages))
        programs |= {turn.program for turn in renamed.turns()}
    assert programs == {"total = 1\n", "total = 2\n", "marks = 1\n", "marks = 2\n"}

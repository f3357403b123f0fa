"""Real traces, last states and synthetic traces: what each holds, at equal numbers of tokens."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutee_serializer.card import StudentCard
from tutee_serializer.dialogs.dialog import Dialog, opens_task
from tutee_trainer.methods.traces import KINDS, cut_to, last_states, prefixes, real_traces, synthetic_traces
from tutee_trainer.preset import Preset
from tutee_trainer.training import TrainingResult

WRONG = "def double(n):\n    print(n)\n"
RIGHT = "def double(n):\n    twice = n + n\n\n    return twice\n"
GREETING = "def greet(name):\n    return 'Hello ' + name\n"
FORMATS = ("code", "dual", "edits", "plain_edits")


def programs_of(dialog: Dialog) -> list[str]:
    """The programs in a dialog without grades."""
    numbered = sum(message["role"] == "assistant" for message in dialog.messages)
    known = Dialog(dialog.format, dialog.feedback, dialog.messages, "", (0.0,) * numbered, ("",) * numbered)
    return [turn.program for turn in known.turns()]


@given(st.text(st.sampled_from("ab \n\t:#é"), max_size=40))
def test_prefixes_grow_line_by_line_to_the_whole_program(program: str) -> None:
    found = prefixes(program)
    assert found[-1] == program
    assert all(program.startswith(prefix) for prefix in found)
    assert all(len(one.strip()) < len(other.strip()) for one, other in pairwise(found))
    assert len(found) == max(1, sum(bool(line.strip()) for line in program.split("\n")))


@pytest.mark.parametrize("format", FORMATS)
def test_last_states_have_one_turn_the_last_program(make_dialog: Callable[..., Dialog], format: str) -> None:
    dialog = make_dialog([(WRONG, 0.0), (RIGHT, 100.0)], format=format)
    (last,) = last_states(dialog)
    assert [message["role"] for message in last.messages] == ["system", "user", "assistant"]
    assert last.messages[:2] == dialog.messages[:2]
    assert programs_of(last) == [RIGHT]


@pytest.mark.parametrize("format", FORMATS)
def test_a_synthetic_trace_reveals_the_last_program(make_dialog: Callable[..., Dialog], format: str) -> None:
    dialog = make_dialog([(WRONG, 0.0), (RIGHT, 100.0)], format=format)
    (trace,) = synthetic_traces(dialog)
    assert programs_of(trace) == [
        "def double(n):",
        "def double(n):\n    twice = n + n",
        RIGHT,
    ]
    assert trace.messages[-1]["role"] == "assistant"
    assert trace.messages[:2] == dialog.messages[:2]
    assert not any("Grade" in message["content"] for message in trace.messages)


def test_real_traces_are_the_dialogs(make_dialog: Callable[..., Dialog]) -> None:
    dialog = make_dialog([(WRONG, 0.0), (RIGHT, 100.0)])
    assert list(real_traces(dialog)) == [dialog]


@pytest.mark.parametrize("kind", ["last_states", "synthetic_traces"])
def test_each_task_of_a_dialog_over_a_course_has_its_own_last_program(
    make_dialog: Callable[..., Dialog], kind: str
) -> None:
    one, other = make_dialog([(WRONG, 0.0), (RIGHT, 100.0)]), make_dialog([(GREETING, 100.0)], task="Greet.")
    course = Dialog(
        one.format,
        one.feedback,
        [*one.messages, *other.messages[1:]],
        "",
        one.grades + other.grades,
        one.submission_ids + other.submission_ids,
    )
    made = list(KINDS[kind](course))
    assert [sum(map(opens_task, dialog.messages)) for dialog in made] == [1, 1]
    assert [programs_of(dialog)[-1] for dialog in made] == [RIGHT, GREETING]
    assert [dialog.messages[1] for dialog in made] == [one.messages[1], other.messages[1]]


@given(st.lists(st.integers(1, 9), min_size=1), st.data())
def test_rows_are_cut_to_exactly_so_many_tokens(lengths: list[int], data: st.DataObject) -> None:
    tokens = data.draw(st.integers(1, sum(lengths)))
    rows = [{"input_ids": [n] * n, "labels": [-n] * n} for n in lengths]
    kept = cut_to(rows, tokens)
    assert sum(len(row["input_ids"]) for row in kept) == tokens
    assert kept[:-1] == rows[: len(kept) - 1]
    assert all(len(row["input_ids"]) == len(row["labels"]) > 0 for row in kept)


def test_the_three_are_trained_on_equally_many_tokens(
    based: Path, preset: Preset, train: Callable[..., TrainingResult], capsys: pytest.CaptureFixture[str]
) -> None:
    sections = {**preset.model_dump(), "traces": {"learning_rate": 1e-2, "batch": 4, "micro_batch": 2}}
    figures = {}
    for name in KINDS:
        train(based, name, preset=Preset.parse(sections))
        figures[name] = json.loads((based / name / "training.json").read_text())
        card = StudentCard.load(based / name)
        assert (card.method, card.feedback) == (name, "none")
    planned = figures["traces"]["planned_tokens"]
    assert len(set(planned.values())) == 3  # before they were cut
    fewest = min(planned.values())
    assert {name: found["tokens"] for name, found in figures.items()} == dict.fromkeys(KINDS, fewest)
    assert f"cut to {fewest:,} tokens" in capsys.readouterr().out


def test_a_first_turn_that_is_not_learnt_leaves_nothing_of_last_states(preset: Preset) -> None:
    sections = preset.model_dump()
    sections["dialog"]["first_is_target"] = False
    Preset.parse(sections)
    with pytest.raises(ValueError, match=r"last_states has nothing to learn with dialog\.first_is_target"):
        Preset.parse({**sections, "traces": {"learning_rate": 1e-2}})

"""Cutting dialogs into pieces: nothing twice, nothing lost."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tutee_serializer import counting
from tutee_serializer.dialogs.formats import read_turn, write_turn
from tutee_trainer.conversations import Conversation, counter, pieces
from tutee_trainer.model import train_tokenizer
from tutee_trainer.practice import Practice, bound_names, rename
from tutee_trainer.preset import Preset


def words(content: str) -> int:
    return len(content.split())


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    budget=st.integers(20, 120),
)
@settings(max_examples=60, deadline=None)
def test_each_turn_stands_in_one_piece_that_fits(
    conversation: Callable[..., Conversation], sizes: list[int], budget: int
) -> None:
    programs = [(" ".join(f"w{n}x{k}" for k in range(size)), 0.0) for n, size in enumerate(sizes)]
    dialog = conversation(programs)
    cut = list(pieces(dialog, budget, words))
    assert all(sum(words(m["content"]) for m in piece) <= budget for piece in cut)
    turns = [m["content"] for m in dialog.messages if m["role"] == "assistant"]
    kept = [m["content"] for piece in reversed(cut) for m in piece if m["role"] == "assistant"]
    assert len(kept) == len(set(kept))
    assert set(kept) <= set(turns)
    if budget >= 100:  # room for the longest turn with all that goes with it
        assert kept == turns


def test_turns_counted_together_count_as_they_do_alone(
    conversation: Callable[..., Conversation], preset: Preset
) -> None:
    dialog = conversation([("def f(n):\n    return n\n", 0.0), ("def f(n):\n    return  n + 1\n\n", 100.0)])
    tokenizer = train_tokenizer(preset, [message["content"] for message in dialog.messages])
    assert counting._cuts_at_lines(tokenizer.backend_tokenizer)
    count = counter(tokenizer, [dialog])
    for message in dialog.messages:
        turn = f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n"
        markup = "<|im_start|>{}\n<|im_end|>\n"
        longer = len(tokenizer(markup.format("assistant")).input_ids) - len(
            tokenizer(markup.format(message["role"])).input_ids
        )
        assert count(message["content"]) == len(tokenizer(turn).input_ids) + longer


def test_turns_give_back_the_programs(conversation: Callable[..., Conversation]) -> None:
    programs = [("a = 1\n", 0.0), ("a = 1\nb = 2\n", 50.0), ("b = 2\n", 100.0)]
    turns = list(conversation(programs).turns())
    assert [(turn.program, turn.grade) for turn in turns] == programs
    assert [turn.previous for turn in turns] == [None, "a = 1\n", "a = 1\nb = 2\n"]


def test_practice_edits_lead_to_real_programs(conversation: Callable[..., Conversation]) -> None:
    programs = [("a = 1\n", 0.0), ("a = 1\nb = 2\n", 50.0), ("b = 2\n", 100.0)]
    practice = iter(Practice([conversation(programs)], seed=0))
    real = {program for program, _ in programs}
    for _ in range(50):
        messages = next(practice)
        assert [m["role"] for m in messages] == ["system", "user", "assistant", "user", "assistant"]
        for user, assistant in ((1, 2), (3, 4)):
            shown = messages[user]["content"]
            before = shown[shown.index("<|1|>") :]
            lines = [part.split("|>", 1)[1] for part in before.split("<|")[1:]]
            program = read_turn("edits", "\n".join(lines), messages[assistant]["content"])
            assert program in real
            assert write_turn("edits", "\n".join(lines), program) == messages[assistant]["content"]


def test_other_names_stand_everywhere_and_edits_still_apply(
    conversation: Callable[..., Conversation],
) -> None:
    programs = [
        ("def f(items):\n    total = 0\n    for x in items:\n        total += x.total\n", 0.0),
        (
            "def f(items):\n    total = 1\n    for x in items:\n        total += x.total\n    return total\n",
            50.0,
        ),
    ]
    dialog = conversation(programs)
    names = {"items": "marks", "total": "s", "x": "total"}
    other = replace(dialog, messages=tuple(rename(dialog.messages, names)))
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

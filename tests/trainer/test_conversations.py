"""Cutting dialogs into pieces: nothing twice, nothing lost."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from tutee_serializer.formats import read_turn, write_turn
from tutee_trainer.conversations import Conversation, pieces
from tutee_trainer.practice import Practice


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

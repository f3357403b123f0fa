"""Preference pairs follow their strategy."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutee_grader.errors import InputError
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import read_turn
from tutee_trainer.pairs import PAIRS, PairsConfig, make_pairs, write_pairs
from tutee_trainer.preset import Preset

trajectories = st.lists(
    st.tuples(st.integers(0, 4).map(lambda n: f"x = {n}\n"), st.sampled_from([0.0, 50.0, 100.0])),
    min_size=1,
    max_size=8,
)


@given(programs=trajectories, strategy=st.sampled_from(["grade", "next", "random"]), seed=st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_the_rejected_is_the_one_the_strategy_names(
    make_dialog: Callable[..., Dialog], programs: list[tuple[str, float]], strategy: str, seed: int
) -> None:
    dialog = make_dialog(programs)
    pairs = make_pairs([dialog], PairsConfig(strategy=strategy, seed=seed))
    assert pairs.schema == PAIRS
    places = {turn.index: number for number, turn in enumerate(dialog.turns())}
    got = {}
    for pair in pairs.iter_rows(named=True):
        turn = pair["turn"]
        assert pair["prompt"] == dialog.messages[: len(pair["prompt"])]
        assert places[len(pair["prompt"])] == turn
        previous = programs[turn - 1][0] if turn else None
        assert read_turn("edits", previous, pair["chosen"]) == programs[turn][0]
        got[turn] = (read_turn("edits", previous, pair["rejected"]), pair["rejected_grade"])
    for turn, (program, grade) in enumerate(programs):
        later = programs[turn + 1 :]
        different = [other for other in later if other[1] != grade]
        allowed = {"grade": different[:1], "next": later[:1], "random": later[1:]}[strategy]
        usable = [other for other in allowed if other[0] != program]
        if turn in got:
            assert got[turn] in usable
        elif strategy != "random":
            assert not usable


def test_programs_with_one_tree_make_no_pair(make_dialog: Callable[..., Dialog]) -> None:
    dialog = make_dialog([("x = 0\n", 0.0), ("x=0  # again\n", 50.0)])
    assert make_pairs([dialog], PairsConfig(strategy="next")).is_empty()


def test_the_same_seed_draws_the_same_pairs(make_dialog: Callable[..., Dialog]) -> None:
    dialog = make_dialog([(f"x = {n}\n", float(n)) for n in range(12)])
    first, second = (make_pairs([dialog], PairsConfig(strategy="random", seed=3)) for _ in range(2))
    assert first.equals(second)


def test_pairs_without_dialogs_say_what_to_run(preset: Preset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tutee serialize"):
        write_pairs(PairsConfig(), preset, tmp_path / "dialogs.parquet", tmp_path / "pairs.parquet")

"""Preference pairs follow their strategy."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutee_grader.errors import InputError
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import read_turn
from tutee_trainer.pairs import PairsConfig, make_pairs, write_pairs
from tutee_trainer.preset import Preset
from tutee_trainer.schemas import PAIRS

trajectories = st.lists(
    st.tuples(st.integers(0, 4).map(lambda n: f"x = {n}\n"), st.sampled_from([0.0, 50.0, 100.0])),
    min_size=1,
    max_size=8,
)


def pairs_of(programs: list[tuple[str, float]], dialog: Dialog, config: PairsConfig, first: bool = True):
    """The pairs, as places in the trajectory: the chosen's, and the rejected program with its grade."""
    pairs = make_pairs([dialog], config, first)
    assert pairs.schema == PAIRS
    for pair in pairs.iter_rows(named=True):
        turn = pair["turn"]
        previous = programs[turn - 1][0] if turn else None
        yield turn, (read_turn("edits", previous, pair["rejected"]), pair["rejected_grade"])


@given(programs=trajectories, strategy=st.sampled_from(["grade", "next", "random"]))
@settings(max_examples=50, deadline=None)
def test_the_chosen_is_what_the_student_did_after_the_prompt(
    make_dialog: Callable[..., Dialog], programs: list[tuple[str, float]], strategy: str
) -> None:
    dialog = make_dialog(programs)
    places = {turn.index: number for number, turn in enumerate(dialog.turns())}
    for pair in make_pairs([dialog], PairsConfig(strategy=strategy)).iter_rows(named=True):
        turn = pair["turn"]
        assert pair["prompt"] == dialog.messages[: len(pair["prompt"])]
        assert places[len(pair["prompt"])] == turn
        previous = programs[turn - 1][0] if turn else None
        assert read_turn("edits", previous, pair["chosen"]) == programs[turn][0]
        assert pair["chosen_grade"] == programs[turn][1]


@pytest.mark.parametrize("strategy", ["grade", "next", "random"])
def test_two_programs_of_one_grade_as_canaries_have_make_no_pair(
    make_dialog: Callable[..., Dialog], strategy: str
) -> None:
    dialog = make_dialog([("x = 1\n", 0.0), ("x = 1\ny = 2\n", 0.0)])
    assert make_pairs([dialog], PairsConfig(strategy=strategy)).is_empty()


@given(programs=trajectories)
@settings(max_examples=100, deadline=None)
def test_next_rejects_the_second_after_the_chosen(
    make_dialog: Callable[..., Dialog], programs: list[tuple[str, float]]
) -> None:
    got = dict(pairs_of(programs, make_dialog(programs), PairsConfig(strategy="next")))
    second = {turn: programs[turn + 2] for turn in range(len(programs) - 2)}
    assert got == {turn: other for turn, other in second.items() if other[0] != programs[turn][0]}


@given(seed=st.integers(0, 50), length=st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_random_rejects_one_at_least_three_after_the_chosen(
    make_dialog: Callable[..., Dialog], seed: int, length: int
) -> None:
    programs = [(f"x = {n}\n", float(n)) for n in range(length)]
    pairs = pairs_of(programs, make_dialog(programs), PairsConfig(strategy="random", seed=seed))
    distances = [programs.index(rejected) - turn for turn, rejected in pairs]
    assert all(distance >= 3 for distance in distances)
    assert bool(distances) == (length > 3)


def test_random_draws_every_distance_from_three_on(make_dialog: Callable[..., Dialog]) -> None:
    programs = [(f"x = {n}\n", float(n)) for n in range(6)]
    drawn = {
        programs.index(rejected) - turn
        for seed in range(40)
        for turn, rejected in pairs_of(
            programs, make_dialog(programs), PairsConfig(strategy="random", seed=seed)
        )
    }
    assert drawn == {3, 4, 5}


@given(grades=st.lists(st.sampled_from([0.0, 50.0, 100.0]), min_size=1, max_size=8), seed=st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_grade_rejects_the_nearest_of_another_grade_that_no_other_pair_rejects(
    make_dialog: Callable[..., Dialog], grades: list[float], seed: int
) -> None:
    programs = [(f"x = {n}\n", grade) for n, grade in enumerate(grades)]
    pairs = pairs_of(programs, make_dialog(programs), PairsConfig(strategy="grade", seed=seed))
    got = {turn: programs.index(rejected) for turn, rejected in pairs}
    for turn, (_, grade) in enumerate(programs):
        others = [later for later in range(turn + 1, len(programs)) if programs[later][1] != grade]
        nearer = others[: others.index(got[turn])] if turn in got else others
        assert set(nearer) <= set(got.values())


@given(programs=trajectories, strategy=st.sampled_from(["grade", "next", "random"]), seed=st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_a_submission_is_rejected_at_most_once(
    make_dialog: Callable[..., Dialog], programs: list[tuple[str, float]], strategy: str, seed: int
) -> None:
    numbered = [(f"{program}y = {n}\n", grade) for n, (program, grade) in enumerate(programs)]
    pairs = pairs_of(numbered, make_dialog(numbered), PairsConfig(strategy=strategy, seed=seed))
    assert max(Counter(rejected for _, rejected in pairs).values(), default=1) == 1


@pytest.mark.parametrize("strategy", ["grade", "next", "random"])
def test_the_first_submission_is_chosen_only_where_it_is_a_target(
    make_dialog: Callable[..., Dialog], strategy: str
) -> None:
    programs = [(f"x = {n}\n", float(n)) for n in range(5)]
    turns = {
        first: {
            turn
            for turn, _ in pairs_of(programs, make_dialog(programs), PairsConfig(strategy=strategy), first)
        }
        for first in (True, False)
    }
    assert 0 in turns[True]
    assert 0 not in turns[False] and turns[False]


def test_each_task_of_a_dialog_is_a_trajectory_of_its_own(make_dialog: Callable[..., Dialog]) -> None:
    one, other = (
        make_dialog([(f"x = {n}\n", 0.0), (f"x = {n + 1}\n", 100.0)], task=f"Task {n}.") for n in (0, 5)
    )
    both = Dialog("edits", "summary", [*one.messages, *other.messages[1:]], "two", one.grades * 2, ("",) * 4)
    assert make_pairs([both], PairsConfig())["turn"].to_list() == [0, 2]
    assert make_pairs([both], PairsConfig(), first_is_target=False).is_empty()


def test_the_switch_of_the_preset_reaches_the_table(preset: Preset, tmp_path: Path, based: Path) -> None:
    dialog = preset.dialog.model_copy(update={"first_is_target": False})
    without = preset.model_copy(update={"dialog": dialog})
    write_pairs(PairsConfig(), without, based / "dialogs.parquet", tmp_path / "pairs.parquet")
    assert 0 not in pl.read_parquet(tmp_path / "pairs.parquet")["turn"].to_list()


def test_programs_with_one_tree_make_no_pair(make_dialog: Callable[..., Dialog]) -> None:
    dialog = make_dialog([("x = 0\n", 0.0), ("x=0  # again\n", 50.0)])
    assert make_pairs([dialog], PairsConfig(strategy="grade")).is_empty()


def test_the_same_seed_draws_the_same_pairs(make_dialog: Callable[..., Dialog]) -> None:
    dialog = make_dialog([(f"x = {n}\n", float(n)) for n in range(12)])
    first, second = (make_pairs([dialog], PairsConfig(strategy="random", seed=3)) for _ in range(2))
    assert first.equals(second)


def test_pairs_without_dialogs_say_what_to_run(preset: Preset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tutee serialize"):
        write_pairs(PairsConfig(), preset, tmp_path / "dialogs.parquet", tmp_path / "pairs.parquet")

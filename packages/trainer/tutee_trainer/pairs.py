"""Preference pairs: the student's real submission against one that came only later."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl

from tutee_grader.config import Section
from tutee_grader.errors import InputError
from tutee_grader.files import write_table
from tutee_serializer.dialogs.dialog import Dialog, Turn, read_dialogs
from tutee_serializer.dialogs.formats import write_turn
from tutee_serializer.dialogs.trees import normalise
from tutee_trainer.schemas import PAIRS

if TYPE_CHECKING:
    from tutee_trainer.preset import Preset


class PairsConfig(Section):
    """Section `pairs` of params.yaml: which later submission of the trajectory is rejected.

    `next` rejects the second after the chosen one, `random` one at least three after it, `grade` the nearest
    whose grade differs.
    """

    strategy: Literal["grade", "next", "random"] = "grade"
    seed: int = 0


def make_pairs(dialogs: Sequence[Dialog], config: PairsConfig, first_is_target: bool = True) -> pl.DataFrame:
    """PAIRS of the dialogs: chosen is what the student really handed in (Koutcheme et al., arXiv 2604.10720).

    Within a trajectory, one student's work on one task, each submission is rejected at most once, so `grade`
    and `random` pass over those that another pair has rejected. The chosen take their turns in random order,
    or the first ones would always find the nearest. Programs of one normalised tree make no pair.
    `first_is_target`: whether the first submission of a trajectory may be the chosen one.
    """
    chance = random.Random(config.seed)
    rows = []
    for dialog in dialogs:
        turns = list(enumerate(dialog.turns()))
        taken: set[int] = set()
        pairs = []
        for number, chosen in chance.sample(turns, len(turns)):
            if chosen.previous is None and not first_is_target:
                continue
            later = [turn for _, turn in turns[number + 1 :] if turn.task == chosen.task]
            rejected = _rejected(chosen, later, taken, config.strategy, chance)
            if rejected is not None:
                taken.add(rejected.index)
                pairs.append((number, chosen, rejected))
        for number, chosen, rejected in sorted(pairs, key=lambda pair: pair[0]):
            rows.append(
                {
                    "dialog_id": dialog.dialog_id,
                    "turn": number,
                    "prompt": list(dialog.messages[: chosen.index]),
                    "chosen": dialog.messages[chosen.index]["content"],
                    "rejected": write_turn(dialog.format, chosen.previous, rejected.program),
                    "chosen_grade": chosen.grade,
                    "rejected_grade": rejected.grade,
                    "strategy": config.strategy,
                }
            )
    return pl.DataFrame(rows, schema=PAIRS)


def write_pairs(config: PairsConfig, preset: "Preset", dialogs: Path, pairs: Path) -> tuple[int, int]:
    """Writes table `pairs` from the students in table `dialogs` who learn; returns the rows of each.

    The pairs of the validation students among them are for the validation loss.
    """
    format, feedback = preset.format, preset.dialog.feedback
    read = {
        "train": read_dialogs(dialogs, format, feedback, "train"),
        "validation": read_dialogs(dialogs, format, feedback, "validation", required=False),
    }
    tables = [
        make_pairs(rows, config, preset.dialog.first_is_target).with_columns(split=pl.lit(split, pl.String))
        for split, rows in read.items()
    ]
    if tables[0].is_empty():
        raise InputError(
            f"{dialogs}: not one pair by strategy {config.strategy}; choose another under pairs.strategy in "
            "params.yaml, or bring longer trajectories"
        )
    table = pl.concat(tables)
    write_table(table, pairs)
    return sum(map(len, read.values())), table.height


def _rejected(
    chosen: Turn, later: list[Turn], taken: set[int], strategy: str, chance: random.Random
) -> Turn | None:
    """The later submission that `strategy` names; None where it names none, or one of the same tree."""
    match strategy:
        case "grade":
            free = [turn for turn in later if turn.index not in taken and turn.grade != chosen.grade]
            candidates = free[:1]
        case "next":
            candidates = later[1:2]
        case _:
            candidates = [turn for turn in later[2:] if turn.index not in taken]
    different = [turn for turn in candidates if not _same(chosen.program, turn.program)]
    return chance.choice(different) if different else None


def _same(one: str, other: str) -> bool:
    tree = normalise(one)
    return one == other or (tree is not None and tree == normalise(other))

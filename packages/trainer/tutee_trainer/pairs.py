"""Preference pairs: the student's next submission against one that came only later."""

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

if TYPE_CHECKING:
    from tutee_trainer.preset import Preset

PAIRS = pl.Schema(
    {
        "dialog_id": pl.String(),
        "turn": pl.Int64(),  # the chosen student's turn, counted from 0
        "prompt": pl.List(pl.Struct({"role": pl.String(), "content": pl.String()})),
        "chosen": pl.String(),
        "rejected": pl.String(),
        "chosen_grade": pl.Float64(),
        "rejected_grade": pl.Float64(),
        "strategy": pl.String(),
    }
)


class PairsConfig(Section):
    """Section `pairs` of params.yaml.

    The rejected submission comes later in the same student's work on the task: `grade` takes the nearest
    whose grade differs from the chosen one's, `next` the one after the chosen, `random` any from the second
    after the chosen on.
    """

    strategy: Literal["grade", "next", "random"] = "grade"
    seed: int = 0


def make_pairs(dialogs: Sequence[Dialog], config: PairsConfig) -> pl.DataFrame:
    """PAIRS of the dialogs: chosen is the real next submission (Koutcheme et al., arXiv 2604.10720).

    Steps are counted from the last submission of the prompt: the chosen is one step later, `next` two, and
    `random` at least three. A pair whose programs normalise to the same tree is skipped.
    """
    chance = random.Random(config.seed)
    rows = []
    for dialog in dialogs:
        turns = list(dialog.turns())
        for number, chosen in enumerate(turns):
            later = [turn for turn in turns[number + 1 :] if turn.task == chosen.task]
            rejected = _rejected(chosen, later, config.strategy, chance)
            if rejected is None or _same(chosen.program, rejected.program):
                continue
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
    """Writes table `pairs` from the training students in table `dialogs`; returns the rows of each."""
    rows = read_dialogs(dialogs, preset.format, preset.dialog.feedback, "train")
    table = make_pairs(rows, config)
    if table.is_empty():
        raise InputError(
            f"{dialogs}: not one pair by strategy {config.strategy}; choose another under pairs.strategy in "
            "params.yaml, or bring longer trajectories"
        )
    write_table(table, pairs)
    return len(rows), table.height


def _rejected(chosen: Turn, later: list[Turn], strategy: str, chance: random.Random) -> Turn | None:
    match strategy:
        case "grade":
            return next((turn for turn in later if turn.grade != chosen.grade), None)
        case "next":
            return later[0] if later else None
        case _:
            return chance.choice(later[1:]) if later[1:] else None


def _same(one: str, other: str) -> bool:
    tree = normalise(one)
    return one == other or (tree is not None and tree == normalise(other))

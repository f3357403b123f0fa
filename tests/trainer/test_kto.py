"""KTO: where it starts from, and which programs it calls desirable."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from tutee_grader.errors import InputError
from tutee_serializer.dialogs.chat import Chat
from tutee_trainer.method import load_methods
from tutee_trainer.methods.kto import desirable_weight, tokenize, with_mismatched
from tutee_trainer.model import load_chat
from tutee_trainer.preset import Preset
from tutee_trainer.schemas import PAIRS
from tutee_trainer.training import TrainingResult

PROMPT = [{"role": "system", "content": "a student"}, {"role": "user", "content": "a task"}]


@pytest.fixture(scope="module")
def chat(based: Path, preset: Preset) -> Chat:
    return load_chat(preset, based / "base")


def pair(dialog_id: str, turn: int, chosen: str, rejected: str) -> tuple:
    return (dialog_id, turn, PROMPT, chosen, rejected, 50.0, 100.0, "grade", "train")


@pytest.fixture
def pairs() -> pl.DataFrame:
    """Two pairs of one turn, and one of another dialog whose rejected side is long."""
    rows = [pair("a", 0, "x", "y"), pair("a", 0, "x", "z"), pair("b", 0, "x", "w " * 50)]
    return pl.DataFrame(rows, schema=PAIRS, orient="row")


def test_a_desirable_program_in_several_pairs_is_used_once(pairs: pl.DataFrame, chat: Chat) -> None:
    rows = tokenize(pairs, chat, 1000)
    assert [row["completion_ids"] for row in rows if row["label"]] == [chat.reply("x")] * 2  # one a dialog
    undesirable = [row["completion_ids"] for row in rows if not row["label"]]
    assert undesirable == [chat.reply("y"), chat.reply("z"), chat.reply("w " * 50)]
    assert all(row["prompt_ids"] == chat.prompt(PROMPT) for row in rows)


def test_a_program_that_does_not_fit_is_left_out(pairs: pl.DataFrame, chat: Chat) -> None:
    rows = tokenize(pairs, chat, len(chat.prompt(PROMPT)) + 20)
    assert [row["completion_ids"] for row in rows] == [chat.reply(content) for content in "xxyz"]


def test_the_mismatched_completion_is_a_neighbours_within_the_micro_batch() -> None:
    rows = with_mismatched([{"completion_ids": [number]} for number in range(5)], 2)
    assert [row["KL_completion_ids"] for row in rows] == [[1], [0], [3], [2], [4]]


def test_both_sides_weigh_the_same() -> None:
    rows = [{"label": label} for label in (True, True, False, False, False)]
    assert desirable_weight(rows) * 2 == 3
    assert desirable_weight(rows[:2]) == 1  # nothing to balance


def test_policy_and_reference_agree_before_the_first_step(
    tuned: Path, train: Callable[..., TrainingResult]
) -> None:
    """The reference is the SFT adapter; the bare base computes something else."""
    train(tuned, "kto")
    first, *_, last = json.loads((tuned / "kto" / "training.json").read_text())["history"]
    for figure in ("kl", "rewards/chosen", "rewards/rejected"):
        assert first[figure] == pytest.approx(0, abs=1e-6)
    assert abs(last["rewards/chosen"]) > 1e-4  # later they part


def test_it_changes_the_adapter_and_leaves_one(tuned: Path, train: Callable[..., TrainingResult]) -> None:
    train(tuned, "kto")
    before, after = (load_file(tuned / name / "adapter_model.safetensors") for name in ("sft", "kto"))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert not (tuned / "kto" / "ref").exists()


def test_a_preset_without_its_section_is_an_error_that_names_it(
    tuned: Path, preset: Preset, train: Callable[..., TrainingResult]
) -> None:
    sections = preset.model_dump(exclude={"kto"})
    with pytest.raises(InputError, match="section kto is missing"):
        train(tuned, "kto", preset=Preset.parse(sections))


def test_it_is_off_unless_a_preset_asks_for_it() -> None:
    method = load_methods()["kto"]
    assert (method.start, method.learns_from, method.optional) == ("sft", "pairs", True)

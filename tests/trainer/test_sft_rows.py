"""The rows that SFT trains on: which tokens have a loss."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.dialog import Dialog
from tutee_trainer.model import load_chat
from tutee_trainer.preset import Preset
from tutee_trainer.rows import tokenize
from tutee_trainer.training import IGNORED

PROGRAMS = [(f"def double(n):\n    return {number}\n", 0.0) for number in range(6)]


@pytest.fixture(scope="module")
def chat(based: Path, preset: Preset) -> Chat:
    return load_chat(preset, based / "base")


def with_dialog(preset: Preset, **dialog: object) -> Preset:
    sections = preset.model_dump()
    return Preset.parse({**sections, "dialog": {**sections["dialog"], **dialog}})


def targets(preset: Preset, chat: Chat, dialog: Dialog) -> list[str]:
    """The turns that have a loss, with their ends, over all rows."""
    rows = tokenize([dialog], chat, preset)
    end = chat.tokenizer.decode([chat.end])
    written = [chat.tokenizer.decode([token for token in row["labels"] if token != IGNORED]) for row in rows]
    return sorted(turn + end for text in written for turn in text.split(end)[:-1])


@pytest.mark.parametrize("max_length", [1024, 256])  # one row; several
@pytest.mark.parametrize("first", [True, False])
def test_every_turn_is_a_target_once_and_the_first_as_the_preset_says(
    preset: Preset, chat: Chat, make_dialog: Callable[..., Dialog], max_length: int, first: bool
) -> None:
    dialog = make_dialog(PROGRAMS)
    end = chat.tokenizer.decode([chat.end])
    turns = [message["content"] + end for message in dialog.messages if message["role"] == "assistant"]
    changed = with_dialog(preset, max_length=max_length, first_is_target=first)
    assert (len(tokenize([dialog], chat, changed)) == 1) == (max_length == 1024)
    assert targets(changed, chat, dialog) == sorted(turns if first else turns[1:])

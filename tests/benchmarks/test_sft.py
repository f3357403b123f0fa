"""The two ways that `tutee bench sft` times: the same turns to learn, with the same loss."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.sft import rows_per_turn
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.dialog import Dialog
from tutee_trainer.preset import Preset
from tutee_trainer.rows import tokenize
from tutee_trainer.training import IGNORED

ADAPTER = {"learning_rate": 1e-3}


@pytest.fixture
def preset(tmp_path) -> Preset:
    return Preset.parse(
        {
            "name": "bench",
            "model": {"pretrained": str(tmp_path), "quantization": "none"},
            "lora": {"rank": 2, "alpha": 4},
            "sft": ADAPTER,
            "dpo": ADAPTER,
            "dapo": {**ADAPTER, "max_prompt": 500},
            "dialog": {"format": "code", "max_length": 1000, "max_new_tokens": 100},
        }
    )


def test_both_ways_learn_the_same_turns(preset: Preset, tokenizer_of: Callable[..., Any]) -> None:
    chat = Chat(tokenizer_of("qwen3"))
    dialog = Dialog.start("code", "summary", "Write f.")
    for number in range(4):
        dialog.append(f"def f(x):\n    return x + {number}\n", f"Grade {number}.")
    dialog.messages.pop()
    dialog.grades, dialog.submission_ids = (0.0,) * 4, tuple("abcd")
    whole, apart = tokenize([dialog], chat, preset), rows_per_turn([dialog], chat, preset)

    def learnt(rows: list[dict[str, list[int]]]) -> list[int]:
        return [label for row in rows for label in row["labels"] if label != IGNORED]

    assert (len(whole), len(apart)) == (1, 4)
    assert learnt(whole) == learnt(apart)
    assert all(whole[0]["input_ids"][: len(row["input_ids"])] == row["input_ids"] for row in apart)

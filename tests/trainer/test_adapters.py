"""Adapters: saved, loaded back and widened, they compute the same."""

from pathlib import Path
from typing import Any

import torch

from tutee_trainer.adapters import load_adapter, new_adapter, save_adapter, student_card
from tutee_trainer.model import load_chat, load_model
from tutee_trainer.preset import Preset

IDS = torch.tensor([[5, 40, 41, 42, 300, 7, 8, 9]])


def logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.inference_mode():
        return model(input_ids=IDS).logits


def test_an_adapter_loads_back_with_the_same_logits(based: Path, preset: Preset, tmp_path: Path) -> None:
    model, chat = load_model(preset, based / "base"), load_chat(preset, based / "base")
    before = logits(model)
    adapted = new_adapter(model, preset.lora, seed=0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    after = logits(adapted)
    save_adapter(
        tmp_path, adapted, chat.tokenizer, student_card(preset, "synthetic", "sft", "summary", "."), {}
    )
    again = load_model(preset, based / "base")
    assert not torch.allclose(before, after)
    assert torch.equal(logits(load_adapter(again, tmp_path)), after)


def test_a_widened_adapter_computes_the_same(based: Path, preset: Preset, tmp_path: Path) -> None:
    model, chat = load_model(preset, based / "base"), load_chat(preset, based / "base")
    adapted = new_adapter(model, preset.lora, seed=0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    expected = logits(adapted)
    save_adapter(
        tmp_path, adapted, chat.tokenizer, student_card(preset, "synthetic", "sft", "summary", "."), {}
    )
    again = load_model(preset, based / "base")
    wide = load_adapter(again, tmp_path, rank=8, alpha=8)
    shapes = {parameter.shape[0] for name, parameter in wide.named_parameters() if "lora_A" in name}
    assert shapes == {8}
    torch.testing.assert_close(logits(wide), expected, rtol=1e-4, atol=1e-5)

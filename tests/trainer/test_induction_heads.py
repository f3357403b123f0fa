"""The heads that a tiny model begins with copy."""

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from tutee_trainer.preset import Preset
from tutee_trainer.tiny.induction_heads import add_induction_heads
from tutee_trainer.tiny.model import new_model
from tutee_trainer.tiny.tokenizer import train_tokenizer


@pytest.mark.parametrize("shape", [(128, 2, 2, 64), (128, 4, 2, 32), (192, 3, 3, 64)])
def test_a_new_model_copies_what_it_saw_before(shape: tuple[int, int, int, int]) -> None:
    """Random tokens, twice: after the second token of the repeat, the next is the one it saw."""
    width, heads, kv_heads, size = shape
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=500, hidden_size=width, intermediate_size=64, num_hidden_layers=3,
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=size, tie_word_embeddings=True,
        max_position_embeddings=512, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).eval()
    once = torch.randint(0, 500, (2, 100))

    def copied() -> float:
        with torch.inference_mode():
            likeliest = model(input_ids=torch.cat([once, once], 1)).logits.argmax(-1)
        return (likeliest[:, 101:-1] == once[:, 2:]).float().mean().item()

    assert copied() < 0.1
    assert add_induction_heads(model)
    assert copied() > 0.95


def test_a_model_too_small_for_the_heads_does_not_change(preset: Preset) -> None:
    tokenizer = train_tokenizer(preset, ["def f(n):\n    return n\n"])
    model = new_model(preset.model, tokenizer, preset.dialog.max_length, seed=0)
    assert not add_induction_heads(model)
    assert model.model.layers[0].mlp.down_proj.weight.abs().sum() > 0

"""The tiny model before training."""

from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from tutee_trainer.preset import TinyModel
from tutee_trainer.tiny.induction_heads import add_induction_heads


def model_config(shape: TinyModel, vocabulary: int, **more: Any) -> Qwen3Config:
    """The configuration of a Qwen3 of this shape; `more` are further arguments of Qwen3Config."""
    return Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.mlp_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size,
        tie_word_embeddings=True,
        **more,
    )


def new_model(
    shape: TinyModel, tokenizer: PreTrainedTokenizerBase, max_length: int, seed: int
) -> PreTrainedModel:
    """A Qwen3 causal language model (float32) for at most `max_length` tokens.

    Its weights are random, but for the induction heads that it begins with where it is large enough.
    """
    torch.manual_seed(seed)
    config = model_config(
        shape,
        len(tokenizer),
        max_position_embeddings=max_length,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},  # as in Qwen3
    )
    model = Qwen3ForCausalLM(config)
    add_induction_heads(model)
    return model

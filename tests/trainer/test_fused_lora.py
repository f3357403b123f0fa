"""LoRA layers on a CPU compute what PEFT's compute."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from tutee_trainer.fused_lora import fuse_lora

TARGETS = ["q_proj", "v_proj", "down_proj"]


def make_model(dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    """A small random model with an adapter that changes what it computes."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    lora = LoraConfig(r=4, lora_alpha=12, target_modules=TARGETS, task_type="CAUSAL_LM", **settings)
    adapted = get_peft_model(LlamaForCausalLM(config).to(dtype), lora)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    return adapted


IDS = torch.arange(60).view(2, 30)


def learn(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The logits, and the gradients of the loss by the parameter's name."""
    model.zero_grad()
    output = model(input_ids=IDS, labels=IDS)
    output.loss.backward()
    return output.logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


def operations(model: Any) -> set[str]:
    """The names of all operations that lead from the adapter to the loss."""
    found, queue = set(), [model(input_ids=IDS, labels=IDS).loss.grad_fn]
    while queue:
        if (node := queue.pop()) is not None and node not in found:
            found.add(node)
            queue += [parent for parent, _ in node.next_functions]
    return {node.name() for node in found}


def test_outputs_and_gradients_are_pefts() -> None:
    model = make_model()
    logits, gradients = learn(model)
    fuse_lora(model)
    fused_logits, fused_gradients = learn(model)
    assert "_LoraLinearBackward" in operations(model)
    torch.testing.assert_close(fused_logits, logits)
    torch.testing.assert_close(fused_gradients, gradients)


def test_a_disabled_adapter_changes_nothing() -> None:
    model, base = make_model(), make_model().unload()
    fuse_lora(model)
    with torch.no_grad(), model.disable_adapter():
        torch.testing.assert_close(model(input_ids=IDS).logits, base(input_ids=IDS).logits)


def test_the_active_adapter_is_the_one_that_counts() -> None:
    model = make_model()
    model.add_adapter("other", LoraConfig(r=2, target_modules=TARGETS, init_lora_weights=False))
    model.set_adapter("other")
    before = model(input_ids=IDS).logits
    fuse_lora(model)
    torch.testing.assert_close(model(input_ids=IDS).logits, before)


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.5}, {"use_dora": True}, {"dtype": torch.bfloat16}])
def test_other_layers_stay_pefts(settings: dict[str, Any]) -> None:
    model = make_model(**settings)
    fuse_lora(model)
    assert "_LoraLinearBackward" not in operations(model)

"""LoRA layers on a CPU compute what PEFT's compute."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig

from tutee_trainer.fused_lora import fuse_lora

TARGETS = ["q_proj", "v_proj", "down_proj"]


IDS = torch.arange(60).view(2, 30)


@pytest.fixture
def make_model(adapted_llama: Callable[..., Any]) -> Callable[..., Any]:
    def make(dtype: str = "float32", **lora: Any) -> Any:
        return adapted_llama(TARGETS, {"lora_alpha": 12, **lora}, dtype)

    return make


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


def test_outputs_and_gradients_are_pefts(make_model: Callable[..., Any]) -> None:
    model = make_model()
    logits, gradients = learn(model)
    fuse_lora(model)
    fused_logits, fused_gradients = learn(model)
    assert "_LoraLinearBackward" in operations(model)
    torch.testing.assert_close(fused_logits, logits)
    torch.testing.assert_close(fused_gradients, gradients)


def test_a_disabled_adapter_changes_nothing(make_model: Callable[..., Any]) -> None:
    model, base = make_model(), make_model().unload()
    fuse_lora(model)
    with torch.no_grad(), model.disable_adapter():
        torch.testing.assert_close(model(input_ids=IDS).logits, base(input_ids=IDS).logits)


def test_the_active_adapter_is_the_one_that_counts(make_model: Callable[..., Any]) -> None:
    model = make_model()
    model.add_adapter("other", LoraConfig(r=2, target_modules=TARGETS, init_lora_weights=False))
    model.set_adapter("other")
    before = model(input_ids=IDS).logits
    fuse_lora(model)
    torch.testing.assert_close(model(input_ids=IDS).logits, before)


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.5}, {"use_dora": True}, {"dtype": "bfloat16"}])
def test_other_layers_stay_pefts(make_model: Callable[..., Any], settings: dict[str, Any]) -> None:
    model = make_model(**settings)
    fuse_lora(model)
    assert "_LoraLinearBackward" not in operations(model)

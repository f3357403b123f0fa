"""LoRA layers on a CPU, computed without passing over their large outputs once more for each operation."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.autograd.function import once_differentiable


def fuse_lora(model: Any) -> None:
    """Makes the LoRA layers of a model on a CPU add the adapter's product to the frozen one in place.

    PEFT scales the adapter's output and adds it, forward and backward, in passes of their own over memory,
    which on a CPU takes a tenth of a step. Leaves layers with dropout, of 4 bits, or of several types alone.
    """
    from peft.tuners.lora.layer import Linear

    for layer in model.modules():
        if type(layer) is Linear:
            layer.forward = partial(_forward, layer, layer.forward)


def _forward(layer: Any, original: Any, x: torch.Tensor, *args: Any, **keywords: Any) -> Any:
    if args or keywords or not _is_plain(layer, x):
        return original(x, *args, **keywords)
    (name,) = layer.active_adapters
    lora_a, lora_b = layer.lora_A[name].weight, layer.lora_B[name].weight
    return _LoraLinear.apply(x, layer.get_base_layer().weight, lora_a, lora_b, layer.scaling[name])


def _is_plain(layer: Any, x: torch.Tensor) -> bool:
    """Whether the layer only multiplies by frozen weights and one adapter, all of the type of `x`."""
    name, *others = layer.active_adapters
    if layer.disable_adapters or layer.merged or others or name not in layer.lora_A:
        return False
    if name in layer.lora_variant or not isinstance(layer.lora_dropout[name], torch.nn.Identity):
        return False
    base = layer.get_base_layer()
    linears = (base, layer.lora_A[name], layer.lora_B[name])
    if base.weight.requires_grad or any(linear.bias is not None for linear in linears):
        return False
    one_type = all(linear.weight.dtype == x.dtype for linear in linears)
    return one_type and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


class _LoraLinear(torch.autograd.Function):
    """x @ W.T + scaling * x @ A.T @ B.T, of which x, A and B have a gradient and the frozen W has none.

    x: (..., inputs); W: (outputs, inputs); A: (rank, inputs); B: (outputs, rank).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        lora_a: torch.Tensor,
        lora_b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        rows = x.flatten(0, -2)
        hidden = (rows @ lora_a.T).mul_(scaling)
        ctx.save_for_backward(rows, weight, lora_a, lora_b, hidden)
        ctx.scaling = scaling
        return (rows @ weight.T).addmm_(hidden, lora_b.T).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight, lora_a, lora_b, hidden = ctx.saved_tensors
        grad = grad_output.flatten(0, -2)
        grad_hidden = (grad @ lora_b).mul_(ctx.scaling)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight).addmm_(grad_hidden, lora_a).view(*grad_output.shape[:-1], -1)
        return grad_x, None, grad_hidden.T @ rows, grad.T @ hidden, None

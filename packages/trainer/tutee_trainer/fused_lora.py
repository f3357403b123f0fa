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
    name, *others = layer.active_adapters
    if layer.disable_adapters or layer.merged or others or name not in layer.lora_A or args or keywords:
        return original(x, *args, **keywords)
    base, down, up = layer.get_base_layer(), layer.lora_A[name], layer.lora_B[name]
    weights = (base.weight, down.weight, up.weight)
    plain = isinstance(layer.lora_dropout[name], torch.nn.Identity) and name not in layer.lora_variant
    biased = any(linear.bias is not None for linear in (base, down, up))
    mixed = torch.is_autocast_enabled("cpu") or any(weight.dtype != x.dtype for weight in weights)
    if not plain or biased or mixed or base.weight.requires_grad or x.device.type != "cpu":
        return original(x)
    return _LoraLinear.apply(x, *weights, layer.scaling[name])


class _LoraLinear(torch.autograd.Function):
    """x @ W' + scale * x @ A' @ B', of which x, A and B have a gradient and the frozen W has none.

    x: (..., inputs); W: (outputs, inputs); A: (rank, inputs); B: (outputs, rank).
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, frozen: torch.Tensor, down: torch.Tensor, up: torch.Tensor, scale: float
    ) -> torch.Tensor:
        rows = x.flatten(0, -2)
        inner = (rows @ down.T).mul_(scale)
        ctx.save_for_backward(rows, frozen, down, up, inner)
        ctx.scale = scale
        return (rows @ frozen.T).addmm_(inner, up.T).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, frozen, down, up, inner = ctx.saved_tensors
        outer = gradient.flatten(0, -2)
        inner_gradient = (outer @ up).mul_(ctx.scale)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (outer @ frozen).addmm_(inner_gradient, down).view(*gradient.shape[:-1], -1)
        return of_x, None, inner_gradient.T @ rows, outer.T @ inner, None

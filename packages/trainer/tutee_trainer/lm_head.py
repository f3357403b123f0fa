"""The probabilities of the student's tokens on a CPU, without those of all the tokens between them."""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from trl.trainer.utils import FusedCausalLMOutput

from tutee_trainer.training import IGNORED

ROWS = 128  # tokens whose logits are in memory at once
# Settings with which some models scale or cap their logits.
_SCALES = (
    "final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling",
)  # fmt: skip


def score_labels_only(model: Any, temperature: float = 1.0) -> None:
    """Makes a model that TRL trains on a CPU project to the vocabulary only where there is a loss.

    TRL does so on GPUs; on a CPU it projects every token, which for SmolLM2 and dialogs takes longer than the
    rest of the model. `temperature` is the one that TRL's head was made with. Leaves TRL's head on a GPU, and
    where logits are not a plain product with frozen weights.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    head, config = base.get_output_embeddings(), base.config.get_text_config()
    plain = isinstance(head, torch.nn.Linear) and head.bias is None and not head.weight.requires_grad
    if head.weight.device.type != "cpu" or not plain or any(getattr(config, name, None) for name in _SCALES):
        return
    original = base.forward

    @wraps(original)
    def forward(*args: Any, fused_lm_head: bool = False, **keywords: Any) -> Any:
        if not fused_lm_head or "shift_labels" in keywords:
            return original(*args, fused_lm_head=fused_lm_head, **keywords)
        labels = keywords.pop("labels")[:, 1:]
        items = keywords.pop("num_items_in_batch", None)
        hidden = base.base_model(*args, **keywords | {"use_cache": False}).last_hidden_state[:, :-1]
        mask = labels != IGNORED
        scores = _LogProbs.apply(hidden[mask], head.weight, labels[mask], temperature)
        # `masked_scatter` keeps the output connected to the model where no label counts.
        values = [hidden.new_zeros(mask.shape, dtype=s.dtype).masked_scatter(mask, s) for s in scores]
        log_probs, entropy, mean_logits, is_top1 = values
        loss = -log_probs.sum() / (mask.sum().clamp(min=1) if items is None else items)
        return FusedCausalLMOutput(
            loss=loss,
            log_probs=log_probs,
            entropy=entropy,
            mean_logits=mean_logits,
            is_top1=is_top1,
            label_mask=mask,
        )

    base.forward = forward


class _LogProbs(torch.autograd.Function):
    """Log-probability of each label, and what TRL logs: entropy, mean logit, whether the label is likeliest.

    `hidden` (tokens, size) @ `weight` (vocabulary, size) are the logits, `labels` (tokens). Only the
    log-probabilities have a gradient, and only `hidden` receives one. It is computed on the way forward,
    while the logits are there: with p the probabilities, that of token i is weight[label_i] - p_i @ weight.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, temperature: float
    ) -> tuple[torch.Tensor, ...]:
        tokens = len(labels)
        log_probs, entropy = (hidden.new_empty(tokens, dtype=torch.float32) for _ in range(2))
        is_top1 = hidden.new_empty(tokens, dtype=torch.bool)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        # Memory that is taken anew for each part would have to be zeroed by the system each time.
        buffers = [hidden.new_empty(min(tokens, ROWS), len(weight), dtype=torch.float32) for _ in range(2)]
        for start in range(0, tokens, ROWS):
            part = slice(start, start + ROWS)
            logits, exps = (buffer[: len(hidden[part])] for buffer in buffers)
            if hidden.dtype == weight.dtype == torch.float32:
                torch.mm(hidden[part], weight.T, out=logits)
            else:
                logits.copy_(hidden[part] @ weight.T)
            logits.div_(temperature)
            label = labels[part, None]
            top, chosen = logits.amax(1, keepdim=True), logits.gather(1, label)
            torch.sub(logits, top, out=exps).exp_()
            total = exps.sum(1, keepdim=True)
            log_probs[part] = (chosen - top - total.log())[:, 0]
            is_top1[part] = (chosen == top)[:, 0]
            if gradient is not None:
                mean_weight = (exps.to(weight.dtype) @ weight) / total.to(weight.dtype)
                gradient[part] = (weight[labels[part]] - mean_weight) / temperature
            expected = exps.mul_(logits).sum(1, keepdim=True) / total
            entropy[part] = (top + total.log() - expected)[:, 0]
        mean_logits = (hidden @ weight.float().mean(0).to(hidden.dtype)).float() / temperature
        ctx.gradient = gradient
        ctx.mark_non_differentiable(entropy, mean_logits, is_top1)
        return log_probs, entropy, mean_logits, is_top1

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor, *_: Any) -> tuple[Any, ...]:
        return ctx.gradient * grad_output[:, None].to(ctx.gradient.dtype), None, None, None

"""The scores of the student's tokens on a CPU: those of TRL's own head, which projects every token."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

from tutee_trainer import lm_head
from tutee_trainer.lm_head import ROWS, score_labels_only
from tutee_trainer.training import IGNORED

FIELDS = ("log_probs", "entropy", "mean_logits", "is_top1")


@pytest.fixture
def make_model(adapted_llama: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a small random model with an adapter, whose head is TRL's."""

    def make(temperature: float = 1.0, **config: Any) -> Any:
        adapted = adapted_llama(["q_proj", "down_proj"], {}, tie_word_embeddings=True, **config)
        add_fused_lm_head(adapted.get_base_model(), temperature=temperature, outputs=FIELDS)
        return adapted

    return make


def make_batch(share: float, tokens: int = 40) -> dict[str, torch.Tensor]:
    """Two rows, the second one padded; a `share` of the tokens has a loss."""
    torch.manual_seed(1)
    ids = torch.randint(0, 97, (2, tokens))
    mask = torch.ones_like(ids)
    mask[1, tokens // 2 :] = 0
    labels = ids.masked_fill((torch.rand(ids.shape) >= share) | (mask == 0), IGNORED)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def run(model: Any, batch: dict[str, torch.Tensor]) -> tuple[Any, list[torch.Tensor]]:
    """The outputs, and the adapter's gradients of a weighted sum of the log-probabilities."""
    model.zero_grad()
    output = model(**batch, fused_lm_head=True)
    weights = torch.linspace(-1, 2, output.log_probs.numel()).view(output.log_probs.shape)
    (output.log_probs * weights).sum().backward()
    return output, [p.grad.clone() for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_scores_and_gradients_are_those_of_trl(
    make_model: Callable[..., Any], share: float, temperature: float
) -> None:
    model, batch = make_model(temperature), make_batch(share, tokens=ROWS)  # in two parts where share is 1
    expected, expected_gradients = run(model, batch)
    score_labels_only(model, temperature)
    output, gradients = run(model, batch)
    for field in (*FIELDS, "label_mask", "loss"):
        torch.testing.assert_close(getattr(output, field), getattr(expected, field), rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_loss_counts_the_items_of_the_whole_batch(make_model: Callable[..., Any]) -> None:
    model, batch = make_model(), make_batch(0.5)
    expected = model(**batch, fused_lm_head=True, num_items_in_batch=1000).loss
    score_labels_only(model)
    torch.testing.assert_close(model(**batch, fused_lm_head=True, num_items_in_batch=1000).loss, expected)


def test_bfloat16_scores_are_close_to_trl(make_model: Callable[..., Any]) -> None:
    model, batch = make_model().bfloat16(), make_batch(0.5)
    expected = model(**batch, fused_lm_head=True).log_probs
    score_labels_only(model)
    torch.testing.assert_close(model(**batch, fused_lm_head=True).log_probs, expected, rtol=0.02, atol=0.02)


def test_only_tokens_with_a_loss_are_projected(
    make_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch, seen = make_model(), make_batch(0.3), []
    apply = lm_head._LogProbs.apply
    monkeypatch.setattr(
        lm_head._LogProbs, "apply", lambda hidden, *more: seen.append(len(hidden)) or apply(hidden, *more)
    )
    score_labels_only(model)
    model(**batch, fused_lm_head=True)
    assert seen == [int((batch["labels"][:, 1:] != IGNORED).sum())]


def test_forward_without_scores_stays_the_model_s_own(make_model: Callable[..., Any]) -> None:
    model, batch = make_model(), make_batch(1.0)
    del batch["labels"]
    expected = model(**batch).logits
    score_labels_only(model)
    torch.testing.assert_close(model(**batch).logits, expected)


@pytest.mark.parametrize("setting", [{"final_logit_softcapping": 30.0}, {"logits_scaling": 8.0}])
def test_scaled_or_capped_logits_are_left_to_trl(
    make_model: Callable[..., Any], setting: dict[str, float]
) -> None:
    model, batch = make_model(**setting), make_batch(1.0)
    expected = model(**batch, fused_lm_head=True).log_probs
    score_labels_only(model)
    torch.testing.assert_close(model(**batch, fused_lm_head=True).log_probs, expected)

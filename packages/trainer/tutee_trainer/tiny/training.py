"""Trains a tiny model whole, from random weights."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tutee_grader.errors import InputError
from tutee_grader.progress import progress_bar
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.dialog import read_dialogs
from tutee_trainer.preset import Preset, TinyModel
from tutee_trainer.tiny.examples import Example, Examples, batches
from tutee_trainer.tiny.model import new_model
from tutee_trainer.tiny.muon import Muon
from tutee_trainer.tiny.tokenizer import train_tokenizer

if TYPE_CHECKING:
    from tutee_trainer.methods.base import BaseConfig
    from tutee_trainer.training import Tracker

VALIDATION_DIALOGS = 24  # enough to decide when to stop; more would take longer than they are worth


def train_tiny(
    preset: Preset, config: BaseConfig, dialogs: Path, tracker: Tracker | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, dict[str, Any]]:
    """The trained model, its tokenizer, and the figures of training.json.

    Tokenizer and weights come from the training students of table `dialogs` alone; the validation students
    decide when to stop.
    """
    format, feedback = preset.format, preset.dialog.feedback
    training = read_dialogs(dialogs, format, feedback, "train")
    silent = read_dialogs(dialogs, format, "none", "train")
    validation = read_dialogs(dialogs, format, feedback, "validation")
    if not isinstance(preset.model, TinyModel):
        raise InputError(f"preset {preset.name}: {preset.model} is not a shape for random weights")
    tokenizer = train_tokenizer(preset, (turn["content"] for dialog in training for turn in dialog.messages))
    model = new_model(preset.model, tokenizer, preset.dialog.max_length, config.seed)
    sample = random.Random(config.seed).sample(validation, min(VALIDATION_DIALOGS, len(validation)))
    examples = Examples(Chat(tokenizer), config, preset.dialog.max_length, [*training, *silent, *sample])
    stream = examples.stream(training, silent)
    figures = _train(model, stream, examples.of(sample), config, tokenizer.pad_token_id, tracker)
    return model, tokenizer, figures | {"dialogs": len(training)}


def _train(
    model: PreTrainedModel,
    stream: Iterator[Example],
    validation: list[Example],
    config: BaseConfig,
    pad: int,
    tracker: Tracker | None,
) -> dict[str, Any]:
    """Trains until `config.tokens`, or until the validation loss no longer falls; keeps the best weights."""
    optimizers = _optimizers(model, config)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    rates = [group["lr"] for group in groups]
    stopping = EarlyStopping(model, validation, config, pad)
    tokens = steps = 0
    losses: list[float] = []
    with progress_bar("base", config.tokens, "tokens", unit_scale=True) as bar:
        for batch in batches(stream, config.batch_tokens):
            done = tokens / config.tokens
            scale = min(1.0, (done + 0.001) / config.warmup) * max(0.05, 1 - done)
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate * scale
            loss, student_loss = _loss(model, batch, pad)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            size = len(batch) * max(len(ids) for ids, _ in batch)
            tokens, steps = tokens + size, steps + 1
            losses.append(student_loss)
            bar.update(size)
            if tokens >= config.tokens * (len(stopping.history) + 1) / config.evaluations:
                bar.set_postfix(stopping.evaluate(tokens, steps, losses))
                if tracker is not None:
                    tracker.log(steps, stopping.history[-1])
                losses = []
                if tokens >= config.tokens or stopping.should_stop:
                    break
    stopping.restore()
    return {
        "steps": steps,
        "tokens": tokens,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "validation_loss": stopping.best,
        "history": stopping.history,
        "config": config.model_dump(),
    }


def _optimizers(model: PreTrainedModel, config: BaseConfig) -> list[torch.optim.Optimizer]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    # Muon (Jordan et al. 2024) for the layers' matrices reaches AdamW's loss in a third of the steps here.
    return [
        Muon(matrices, lr=config.learning_rate, weight_decay=config.weight_decay),
        torch.optim.AdamW(rest, lr=config.embedding_learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


class EarlyStopping:
    """Measures the validation loss now and then, and keeps the weights that had the lowest."""

    def __init__(
        self, model: PreTrainedModel, validation: list[Example], config: BaseConfig, pad: int
    ) -> None:
        self._model, self._validation, self._config, self._pad = model, validation, config, pad
        self._weights: dict[str, torch.Tensor] | None = None
        self._worse = 0
        self.best = float("inf")
        self.history: list[dict[str, float]] = []

    @property
    def should_stop(self) -> bool:
        """Whether the loss has not fallen for `patience` evaluations."""
        return self._worse >= self._config.patience

    def evaluate(self, tokens: int, steps: int, losses: list[float]) -> dict[str, str]:
        """Adds an entry to the history; returns the losses as a progress bar shows them."""
        value = _validation_loss(self._model, self._validation, self._config.batch_tokens, self._pad)
        loss = sum(losses) / len(losses)
        self.history.append(
            {
                "tokens": tokens,
                "steps": steps,
                "loss": round(loss, 4),
                "validation_loss": round(value, 4),
            }
        )
        self._worse = 0 if value < self.best else self._worse + 1
        if value < self.best:
            self.best = value
            self._weights = {name: tensor.clone() for name, tensor in self._model.state_dict().items()}
        return {"loss": f"{loss:.3f}", "validation": f"{value:.3f}"}

    def restore(self) -> None:
        """Gives the model the best weights back."""
        if self._weights is not None:
            self._model.load_state_dict(self._weights)


def _tensors(batch: Sequence[Example], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and weights, both (examples, tokens), padded on the right, where a causal model does not look."""
    longest = max(len(ids) for ids, _ in batch)
    ids = torch.full((len(batch), longest), pad)
    weights = torch.zeros(len(batch), longest)
    for row, (tokens, weight) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        weights[row, : len(weight)] = torch.tensor(weight)
    return ids, weights


def _loss(model: Any, batch: Sequence[Example], pad: int) -> tuple[torch.Tensor, float]:
    """The weighted mean loss of a batch, and the plain mean over the student's tokens."""
    ids, weights = _tensors(batch, pad)
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    weights = weights[:, 1:]
    counted = weights > 0
    losses = torch.nn.functional.cross_entropy(
        model.lm_head(hidden[counted]), ids[:, 1:][counted], reduction="none"
    )
    weights = weights[counted]
    student_losses = losses.detach()[weights == 1]
    return (losses * weights).sum() / weights.sum(), student_losses.mean().item()


def _validation_loss(model: Any, examples: Sequence[Example], tokens: int, pad: int) -> float:
    """The mean loss over the students' tokens of the validation dialogs."""
    model.eval()
    total = count = 0.0
    student_only = [(ids, [float(weight == 1) for weight in weights]) for ids, weights in examples]
    with torch.inference_mode():
        for batch in batches(iter(student_only), 4 * tokens):
            weight = sum(sum(weights[1:]) for _, weights in batch)
            loss, _ = _loss(model, batch, pad)
            total, count = total + loss.item() * weight, count + weight
    model.train()
    return total / max(count, 1.0)

"""The log score of a model in training: how unlikely it finds what held-out students did next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tutee_trainer.training import IGNORED

TOKENS = 128  # whose probabilities are in memory at once


def log_score(
    model: Any, rows: Sequence[dict[str, list[int]]], end: int, accelerator: Any
) -> dict[str, float]:
    """The negative log-likelihood of the students' turns, in nats, as a trainer logs it.

    `eval_nats` is that of a submission: the sum over a turn's tokens and `end`, which ends it, mean over the
    turns. `eval_loss` is that of a token, as SFT's loss in training. `rows` have labels at the turns'
    tokens alone; several processes share them. The model should be in evaluation mode.
    """
    mine = rows[accelerator.process_index :: accelerator.num_processes]
    with torch.no_grad(), accelerator.autocast():
        nats = sum((_nats(model, row, accelerator.device) for row in mine), start=torch.zeros(()))
    total = float(accelerator.reduce(nats.to(accelerator.device)))
    labels = [label for row in rows for label in row["labels"][1:] if label != IGNORED]
    return {"eval_nats": total / labels.count(end), "eval_loss": total / len(labels)}


def _nats(model: Any, row: dict[str, list[int]], device: torch.device) -> torch.Tensor:
    """The negative log-likelihood of a row's labels, summed."""
    labels = torch.tensor(row["labels"][1:], device=device)
    places = (labels != IGNORED).nonzero()[:, 0]
    ids = torch.tensor([row["input_ids"]], device=device)
    logits = model(input_ids=ids, logits_to_keep=places, use_cache=False).logits[0]
    parts = zip(logits.split(TOKENS), labels[places].split(TOKENS), strict=True)
    losses = [torch.nn.functional.cross_entropy(part.float(), at, reduction="sum") for part, at in parts]
    return torch.stack(losses).sum().cpu()


def evaluate_by_log_score(trainer: Any, rows: Sequence[dict[str, list[int]]], end: int) -> None:
    """Has `trainer` evaluate by the log score on `rows`, which preferences and rewards say nothing of.

    Where the trainer has validation rows of its own, pairs, `eval_loss` is its loss on these. TRL's mean
    over micro-batches is not used for SFT's: it weighs the tokens of short rows more.
    """

    def evaluate(*_: Any, **__: Any) -> dict[str, float]:
        trainer.model.eval()  # by which TRL knows that it logs an evaluation; each step sets it back
        model = trainer.accelerator.unwrap_model(trainer.model)
        metrics = log_score(model, rows, end, trainer.accelerator)
        if trainer.eval_dataset is not None:
            loader = trainer.get_eval_dataloader()
            metrics |= trainer.evaluation_loop(loader, "Evaluation", prediction_loss_only=True).metrics
        trainer.log(metrics)
        trainer.control = trainer.callback_handler.on_evaluate(
            trainer.args, trainer.state, trainer.control, metrics
        )
        return metrics

    trainer.evaluate = evaluate

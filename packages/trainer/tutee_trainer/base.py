"""The base: a tiny model trained whole from random weights, or a card that names a pretrained one."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from flows.places import Places
from tutee_grader.errors import InputError
from tutee_grader.files import atomic_dir
from tutee_trainer.adapters import Trained, student_card
from tutee_trainer.conversations import Conversation, Message, counter, pieces, read_dialogs
from tutee_trainer.model import check_pretrained, new_model, train_tokenizer
from tutee_trainer.practice import Practice
from tutee_trainer.preset import Base, Preset, PretrainedModel
from tutee_trainer.running import hush

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HELD = 24  # validation dialogs that say when to stop; more would cost more than they tell
Example = tuple[list[int], list[float]]  # token ids, and the weight of each in the loss


def train_base(preset: Preset, places: Places) -> Trained:
    """Writes models/COURSE/base: a tiny model trained on the training students' dialogs and programs.

    For a pretrained preset the folder holds only the card that names the model, after a check that this
    machine can train it. Nothing of validation or test students is learnt from; the validation students say
    when to stop.
    """
    started = time.perf_counter()
    base = places.model("base")
    if isinstance(preset.model, PretrainedModel):
        check_pretrained(preset)
        with atomic_dir(base) as folder:
            student_card(preset, places.course, "base", preset.dialog.feedback, preset.model.pretrained).save(
                folder
            )
        return Trained(
            base, 0, 0, 0, 0.0, time.perf_counter() - started, f"the card of {preset.model.pretrained}"
        )
    if preset.base is None:
        raise InputError(f"preset {preset.name}: section base is missing")
    levels = (preset.dialog.feedback, "none")
    learnt = {level: read_dialogs(places.dialogs, preset.dialog.format, level, "train") for level in levels}
    held = read_dialogs(places.dialogs, preset.dialog.format, preset.dialog.feedback, "validation")
    hush()
    texts = (message["content"] for dialog in learnt[levels[0]] for message in dialog.messages)
    tokenizer = train_tokenizer(preset, texts)
    model = new_model(preset, tokenizer)
    drawn = random.Random(preset.base.seed).sample(held, min(HELD, len(held)))
    examples = _Examples(tokenizer, preset, preset.base, [*learnt[levels[0]], *learnt["none"], *drawn])
    stream = examples.stream(learnt[levels[0]], learnt["none"])
    training = _train(model, stream, examples.of(drawn), preset.base, tokenizer.pad_token_id)
    training["dialogs"] = len(learnt[levels[0]])
    with atomic_dir(base) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        student_card(preset, places.course, "base", preset.dialog.feedback, ".").save(folder)
        (folder / "training.json").write_text(json.dumps(training, indent=2) + "\n", encoding="utf-8")
    return Trained(
        base,
        training["dialogs"],
        training["steps"],
        training["tokens"],
        training["validation_loss"],
        time.perf_counter() - started,
        f"{training['parameters']:,} parameters",
    )


class _Examples:
    """Turns dialogs into examples: the student's tokens weigh 1, the others `prompt_weight`."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        preset: Preset,
        config: Base,
        dialogs: Sequence[Conversation],
    ) -> None:
        self._tokenizer, self._config = tokenizer, config
        self._longest = preset.dialog.max_length
        self._count = counter(tokenizer, dialogs)

    def of(self, dialogs: Sequence[Conversation]) -> list[Example]:
        return [
            self._example(piece) for dialog in dialogs for piece in pieces(dialog, self._longest, self._count)
        ]

    def stream(self, dialogs: Sequence[Conversation], silent: Sequence[Conversation]) -> Iterator[Example]:
        """Examples without end: real dialogs shuffled anew each epoch, with synthetic ones among them."""
        chance = random.Random(self._config.seed)
        practice = Practice(dialogs, self._config.seed)
        synthetic = iter(practice)
        real = [(dialog, other) for dialog, other in zip(dialogs, silent, strict=True)]
        if not any(True for dialog in dialogs for _ in pieces(dialog, self._longest, self._count)):
            raise InputError(f"not one dialog fits dialog.max_length ({self._longest} tokens); raise it")
        while True:
            for pair in chance.sample(real, len(real)):
                while chance.random() < self._config.practice:
                    yield from self._named(next(synthetic), practice, chance)
                dialog = pair[chance.random() < self._config.no_feedback]
                for piece in pieces(dialog, self._longest, self._count):
                    yield from self._named(piece, practice, chance)

    def _named(self, messages: list[Message], practice: Practice, chance: random.Random) -> Iterator[Example]:
        """The dialog, a share of the time with other variable names; nothing where it is too long."""
        if chance.random() < self._config.renamed:
            messages = practice.renamed(messages)
        example = self._example(messages)
        if len(example[0]) <= self._longest:
            yield example

    def _example(self, messages: Sequence[Message]) -> Example:
        encoded = self._tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids = encoded["input_ids"]
        weights = [1.0 if mask else self._config.prompt_weight for mask in encoded["assistant_masks"]]
        return ids, weights


def _batches(examples: Iterator[Example], tokens: int) -> Iterator[list[Example]]:
    """Batches of at most `tokens` padded tokens, of examples of like length."""
    chance = random.Random(0)
    while drawn := sorted(islice(examples, 256), key=lambda example: len(example[0])):
        batches: list[list[Example]] = [[]]
        for example in drawn:
            if batches[-1] and len(example[0]) * (len(batches[-1]) + 1) > tokens:
                batches.append([])
            batches[-1].append(example)
        chance.shuffle(batches)
        yield from batches


def _train(
    model: PreTrainedModel, stream: Iterator[Example], held: list[Example], config: Base, pad: int
) -> dict[str, Any]:
    """Trains until `config.tokens`, or until the held-out loss no longer falls; keeps the best weights."""
    import torch

    optimizers = _optimizers(model, config)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    rates = [group["lr"] for group in groups]
    watch = _Watch(model, held, config, pad)
    seen = steps = 0
    losses: list[float] = []
    with tqdm(total=config.tokens, desc="base", unit="token", unit_scale=True, disable=None) as bar:
        for batch in _batches(stream, config.batch_tokens):
            done = seen / config.tokens
            scale = min(1.0, (done + 0.001) / config.warmup) * max(0.05, 1 - done)
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate * scale
            loss, mine = _loss(model, batch, pad)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            size = len(batch) * max(len(ids) for ids, _ in batch)
            seen, steps = seen + size, steps + 1
            losses.append(mine)
            bar.update(size)
            if seen >= config.tokens * (len(watch.history) + 1) / config.evaluations:
                bar.set_postfix(watch.look(seen, steps, losses))
                losses = []
                if seen >= config.tokens or watch.is_enough:
                    break
    watch.restore()
    return {
        "steps": steps,
        "tokens": seen,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "validation_loss": watch.best,
        "history": watch.history,
        "config": config.model_dump(),
    }


def _optimizers(model: PreTrainedModel, config: Base) -> list[torch.optim.Optimizer]:
    import torch

    from tutee_trainer.muon import Muon

    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    # Muon (Jordan et al. 2024) for the layers' matrices reaches AdamW's loss in a third of the steps here.
    return [
        Muon(matrices, lr=config.learning_rate, weight_decay=config.weight_decay),
        torch.optim.AdamW(rest, lr=config.embedding_learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


class _Watch:
    """Looks at the loss of held-out dialogs now and then, and keeps the weights that had the lowest."""

    def __init__(self, model: PreTrainedModel, held: list[Example], config: Base, pad: int) -> None:
        self._model, self._held, self._config, self._pad = model, held, config, pad
        self._started, self._cpu = time.perf_counter(), time.process_time()
        self._weights: dict[str, torch.Tensor] | None = None
        self._worse = 0
        self.best = float("inf")
        self.history: list[dict[str, float]] = []

    @property
    def is_enough(self) -> bool:
        """Whether the loss has not fallen for as many looks as are allowed."""
        return self._worse >= self._config.patience

    def look(self, tokens: int, steps: int, losses: list[float]) -> dict[str, str]:
        """Adds a line to the history; returns the losses as a progress bar shows them."""
        value = _held_out(self._model, self._held, self._config.batch_tokens, self._pad)
        loss = sum(losses) / len(losses)
        self.history.append(
            {
                "tokens": tokens,
                "steps": steps,
                "loss": round(loss, 4),
                "validation_loss": round(value, 4),
                "seconds": round(time.perf_counter() - self._started, 1),
                "cpu_seconds": round(time.process_time() - self._cpu, 1),
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
    """Ids and weights, padded on the right: no causal model looks there, so no attention mask is needed."""
    import torch

    longest = max(len(ids) for ids, _ in batch)
    ids = torch.full((len(batch), longest), pad)
    weights = torch.zeros(len(batch), longest)
    for row, (tokens, weight) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        weights[row, : len(weight)] = torch.tensor(weight)
    return ids, weights


def _loss(model: Any, batch: Sequence[Example], pad: int) -> tuple[torch.Tensor, float]:
    """The weighted mean loss of a batch, and the plain mean over the student's tokens."""
    import torch

    ids, weights = _tensors(batch, pad)
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    weights = weights[:, 1:]
    counted = weights > 0
    losses = torch.nn.functional.cross_entropy(
        model.lm_head(hidden[counted]), ids[:, 1:][counted], reduction="none"
    )
    weights = weights[counted]
    mine = losses.detach()[weights == 1]
    return (losses * weights).sum() / weights.sum(), mine.mean().item()


def _held_out(model: Any, examples: Sequence[Example], tokens: int, pad: int) -> float:
    """The mean loss over the students' tokens of held-out dialogs."""
    import torch

    model.eval()
    total = count = 0.0
    mine = [(ids, [float(weight == 1) for weight in weights]) for ids, weights in examples]
    with torch.inference_mode():
        for batch in _batches(iter(mine), 4 * tokens):
            written = sum(sum(weights[1:]) for _, weights in batch)
            loss, _ = _loss(model, batch, pad)
            total, count = total + loss.item() * written, count + written
    model.train()
    return total / max(count, 1.0)

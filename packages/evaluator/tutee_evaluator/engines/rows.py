"""A prompt that a model continues, and the choice of its next tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from tutee_evaluator.engines.drafts import PromptLookup


@dataclass
class Row:
    """A prompt with what has been written after it: `limit` tokens at most, `end` the last.

    `draws`, one for each token and from 0 to 1, choose the tokens; None: the likeliest are taken. With
    `with_logprobs`, `logprobs` has the log-likelihood of each written token at temperature 1, in nats.
    """

    key: int
    prompt: list[int]
    end: int
    limit: int
    lookup: PromptLookup | None
    temperature: float
    draws: NDArray[np.float64] | None
    with_logprobs: bool = False
    written: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    draft: list[int] = field(default_factory=list)
    cancelled: bool = False

    @property
    def has_ended(self) -> bool:
        return self.written[-1:] == [self.end]

    @property
    def is_done(self) -> bool:
        return self.cancelled or self.has_ended or len(self.written) == self.limit

    def restart(self) -> None:
        """Takes back what was written."""
        self.written, self.logprobs, self.draft = [], [], []
        self.lookup = PromptLookup(self.prompt) if self.lookup else None

    def unread(self, drafting: bool) -> list[int]:
        """What the model reads next: the last token and, if `drafting`, a draft of what may follow it."""
        if self.is_done:
            return []
        room = self.limit - len(self.written) - 1  # the model chooses one more than is drafted
        self.draft = self.lookup.draft()[:room] if self.lookup and drafting else []
        return [self.written[-1], *self.draft]

    def accept(self, chosen: list[int]) -> int:
        """Appends what the model chose before the draft and after each of its tokens, as long as they agree.

        Returns how many tokens of the draft that are.
        """
        before = len(self.written)
        for at, token in enumerate(chosen):
            if self.is_done:
                break
            self.written.append(token)
            if at == len(self.draft) or token != self.draft[at]:
                break
        del self.logprobs[len(self.written) :]  # of what it chose after the end of the turn
        new = self.written[before:]
        if self.lookup:
            self.lookup.extend(new)
        return max(0, len(new) - 1)


def choose(rows: Sequence[Row], logits: torch.Tensor) -> list[list[int]]:
    """What the model chooses after each row and after each token of its draft, as long as they agree.

    `logits`: (rows, places, vocabulary). A row that is done gets none.
    """
    chosen: list[list[int]] = [[] for _ in rows]
    going = [at for at, row in enumerate(rows) if not row.is_done]
    for place in range(logits.shape[1]):
        after = logits[going, place]
        tokens = _next(after, [rows[at] for at in going], place)
        _note_logprobs(after, [rows[at] for at in going], tokens)
        for at, token in zip(going, tokens, strict=True):
            chosen[at].append(token)
        going = [at for at in going if rows[at].draft[place : place + 1] == chosen[at][place:]]
        if not going:
            break
    return chosen


def _note_logprobs(logits: torch.Tensor, rows: Sequence[Row], tokens: Sequence[int]) -> None:
    """Notes in the rows that ask for it how likely the chosen tokens were, of logits (rows, vocabulary)."""
    asked = [at for at, row in enumerate(rows) if row.with_logprobs]
    if asked:
        chosen = logits.new_tensor([tokens[at] for at in asked], dtype=torch.long)[:, None]
        likely = torch.log_softmax(logits[asked].float(), dim=-1).gather(1, chosen)[:, 0]
        for at, value in zip(asked, likely.tolist(), strict=True):
            rows[at].logprobs.append(value)


def _next(logits: torch.Tensor, rows: Sequence[Row], place: int) -> list[int]:
    """The token of each row `place` tokens after what is written, of logits (rows, vocabulary)."""
    tokens = logits.argmax(-1)
    drawn = [
        (at, row.temperature, row.draws[len(row.written) + place])
        for at, row in enumerate(rows)
        if row.draws is not None
    ]
    if drawn:
        numbers, temperatures, draws = zip(*drawn, strict=True)
        chosen = list(numbers)
        scale = logits.new_tensor(temperatures, dtype=torch.float32)[:, None]
        below = torch.softmax(logits[chosen].float() / scale, dim=-1).cumsum(-1, dtype=torch.float64)
        found = torch.searchsorted(below, below.new_tensor(draws)[:, None] * below[:, -1:], right=True)
        tokens[chosen] = found[:, 0].clamp(max=logits.shape[-1] - 1)
    return [int(token) for token in tokens.tolist()]

"""Guides a student by a solver: both read and the tokens are drawn from a mixture of what they find likely.

Classifier-free guidance (Ho and Salimans, arXiv 2207.12598; of language models Sanchez et al., arXiv
2306.17806): log p = log p_student + weight * (log p_solver - log p_student), normalised. Weight 0 is the
student, 1 the solver; above 1 the tokens are preferred that the solver finds likelier than the student does.
Where both are one model that reads more or less, that is the published form; two models that are mixed so
are proxy-tuning's (Liu et al., arXiv 2401.08565).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from tutee_evaluator.engines import Completion, Request
from tutee_evaluator.engines.generator import Written
from tutee_evaluator.engines.rows import Row, choose
from tutee_evaluator.engines.transformers import Student
from tutee_evaluator.steering.solvers import ask_to_solve
from tutee_grader.errors import InputError


class Guided:
    """An engine that writes `student`'s turns, guided by `solver` with `weight`.

    The solver reads the same dialog with a solver's system turn. What is drawn depends on the request's seed
    as it does in `student` alone, so that weight 0 writes the same turns. It writes `batch` turns at once and
    begins the next when all of them are done. Raises InputError where the two write other tokens or turns.
    """

    def __init__(self, student: Student, solver: Student, weight: float) -> None:
        check_mixable(student, solver)
        self._student, self._solver, self.weight = student, solver, weight
        self.format, self.feedback, self.batch = student.format, student.feedback, student.batch
        self._waiting: list[tuple[int, Request]] = []

    def add(self, key: int, request: Request) -> None:
        """Takes a request, which `key` names."""
        self._waiting.append((key, request))

    def collect(self) -> list[tuple[int, Completion]]:
        """Works until at least one request is done; returns those that are. Empty: there are none left."""
        now, self._waiting = self._waiting[: self.batch], self._waiting[self.batch :]
        done: list[tuple[int, Completion]] = []
        asked: list[tuple[Request, Row]] = []
        prompts: list[list[int]] = []
        for key, request in now:
            own = self._student.prompt(request.dialog)
            solvers = self._solver.prompt(ask_to_solve(request.dialog))
            if reason := self._student.too_long(own) or self._solver.too_long(solvers):
                done.append((key, Completion("", None, reason, len(own))))
            else:
                asked.append((request, self._row(key, own, request)))
                prompts.append(solvers)
        rows = [row for _, row in asked]
        if rows:
            self._write(rows, prompts)
        for request, row in asked:
            written = Written(row.key, row.written, row.logprobs)
            done.append((row.key, self._student.read(written, request, len(row.prompt))))
        return done

    def _row(self, key: int, prompt: list[int], request: Request) -> Row:
        most = self._student.card.max_new_tokens
        limit = min(request.max_new_tokens or most, most)
        draws = np.random.default_rng(request.seed).random(limit) if request.temperature else None
        end = self._student.chat.end
        return Row(key, prompt, end, limit, None, request.temperature or 1.0, draws, request.logprobs)

    def _write(self, rows: Sequence[Row], prompts: Sequence[list[int]]) -> None:
        """Writes after each row's own prompt, and after the solver's of `prompts`, the same tokens."""
        with torch.inference_mode():
            readers = _Reader(self._student.model), _Reader(self._solver.model)
            own, other = readers[0].begin([row.prompt for row in rows]), readers[1].begin(prompts)
            while True:
                chosen = choose(rows, mix(own, other, self.weight)[:, None])
                for row, tokens in zip(rows, chosen, strict=True):
                    row.accept(tokens)
                going = [at for at, row in enumerate(rows) if not row.is_done]
                if not going:
                    return
                if 2 * len(going) <= len(rows):  # else it costs more to copy them than to read the others
                    rows = [rows[at] for at in going]
                    for reader in readers:
                        reader.keep(going)
                own, other = (reader.go_on([row.written[-1] for row in rows]) for reader in readers)


def mix(student: torch.Tensor, solver: torch.Tensor, weight: float) -> torch.Tensor:
    """The logits between those of the two at `weight`, and beyond the solver's where it is above 1.

    `lerp` gives the student's own log-probabilities at 0 and the solver's at 1, to the last bit.
    """
    own, other = (torch.log_softmax(logits.float(), dim=-1) for logits in (student, solver))
    return torch.lerp(own, other, weight)


class _Reader:
    """A model that reads several sequences at once, token by token after their prompts."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def begin(self, prompts: Sequence[list[int]]) -> torch.Tensor:
        """The logits after each prompt (rows, vocabulary); equal prompts are read once."""
        unique = {tuple(prompt): at for at, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
        width = max(map(len, unique))
        self._cache = DynamicCache(config=self._model.config)
        self._mask = self._tensor([[0] * (width - len(one)) + [1] * len(one) for one in unique])
        logits = self._read(self._tensor([[0] * (width - len(one)) + list(one) for one in unique]))
        places = [unique[tuple(prompt)] for prompt in prompts]
        self.keep(places)
        return logits[places]

    def keep(self, places: Sequence[int]) -> None:
        """Goes on with the sequences at these places."""
        self._cache.batch_select_indices(self._tensor(places))
        self._mask = self._mask[list(places)]

    def go_on(self, tokens: Sequence[int]) -> torch.Tensor:
        """The logits after one more token of each sequence."""
        ids = self._tensor([[token] for token in tokens])
        self._mask = torch.cat([self._mask, torch.ones_like(ids)], dim=1)
        return self._read(ids)

    def _read(self, ids: torch.Tensor) -> torch.Tensor:
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        found = self._model(
            input_ids=ids,
            past_key_values=self._cache,
            attention_mask=self._mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = found.logits[:, -1]
        return logits

    def _tensor(self, values: Sequence[Any]) -> torch.Tensor:
        return torch.tensor(values, device=self._model.device)


def check_mixable(student: Student, solver: Student) -> None:
    """Raises InputError where tokens or turns of the two are not the same."""
    problems = []
    if student.chat.tokenizer.get_vocab() != solver.chat.tokenizer.get_vocab():
        problems.append("they have other tokens")
    if student.model.config.vocab_size != solver.model.config.vocab_size:
        sizes = student.model.config.vocab_size, solver.model.config.vocab_size
        problems.append(f"their vocabularies have {sizes[0]:,} and {sizes[1]:,} places")
    if student.format != solver.format:
        problems.append(f"they write {student.format!r} and {solver.format!r}")
    if problems:
        raise InputError(
            f"the solver {solver.card.method} cannot guide the student {student.card.method}: "
            f"{'; '.join(problems)}; name a model on the same base, or the `--preset` of both"
        )

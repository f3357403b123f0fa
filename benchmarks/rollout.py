"""Times the rollouts' generator beside transformers' `generate`, prompt by prompt."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from tutee_evaluator.engines.generation import BatchGenerator
from tutee_evaluator.engines.transformers import Student
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.rollout.starts import draw_starts, with_dialogs
from tutee_evaluator.rollout.state import Rollout
from tutee_grader.errors import TuteeError

Turns = list[list[int]]  # tokens, each with its end where it has one


def bench_rollout(
    folder: Path, dialogs: pl.DataFrame, submissions: pl.DataFrame, config: RolloutConfig, batch: int
) -> dict[str, Any]:
    """The first step of rollouts: of each start the likeliest turn and the samples, by a student.

    Prints and returns the result. Both ways have the same model and the same prompts, and the likeliest turns
    must be the same, token for token; samples are drawn otherwise, so tokens per second are compared.
    """
    student = Student.load(folder, batch=batch)
    starts = draw_starts(dialogs, submissions, config)
    requests = []
    for start, whole in with_dialogs(starts, dialogs, student):
        for sample in range(1 + config.samples):
            # No assignment: nothing is graded here.
            rollout = Rollout.begin(start, whole, sample, None, config)  # type: ignore[arg-type]
            requests.append(rollout.request())
    prompts = [student.prompt(request.dialog) for request in requests]
    temperatures = [request.temperature for request in requests]
    seeds = [request.seed for request in requests]

    def batched() -> Turns:
        generator = BatchGenerator(student.model, student.chat.end, student.card.max_new_tokens, batch=batch)
        for key, prompt in enumerate(prompts):
            generator.add(key, prompt, temperatures[key], seeds[key])
        done = dict(generator.collect_all())
        return [done[key] for key in range(len(prompts))]

    def one_by_one() -> Turns:
        return [
            generate(student, prompt, temperature)
            for prompt, temperature in zip(prompts, temperatures, strict=True)
        ]

    generate(student, prompts[0], 1.0)  # the first call of a process is slow
    ours, our_rate = _time("rollout", batched)
    theirs, their_rate = _time("generate", one_by_one)
    if any(
        one != other
        for one, other, temperature in zip(ours, theirs, temperatures, strict=True)
        if temperature == 0
    ):
        raise TuteeError("the two ways write other likeliest turns, so their times mean nothing")
    result = {
        "bench": "rollout",
        "preset": student.card.preset,
        "starts": starts.height,
        "samples": config.samples,
        "prompt_tokens": sum(map(len, prompts)),
        "tokens_per_second": round(our_rate),
        "ratio": round(our_rate / their_rate, 2),
    }
    print(json.dumps(result))
    return result


def _time(name: str, write: Callable[[], Turns]) -> tuple[Turns, float]:
    """What was written, and its tokens per second."""
    started = time.perf_counter()
    turns = write()
    seconds = time.perf_counter() - started
    tokens = sum(map(len, turns))
    rate = tokens / seconds
    print(f"{name:<9} {len(turns):>5} turns, {tokens:>7,} tokens, {seconds:6.1f} s, {rate:6.0f} tokens/s")
    return turns, rate


def generate(student: Student, prompt: list[int], temperature: float) -> list[int]:
    """The turn after a prompt, by transformers."""
    import torch

    ids = torch.tensor([prompt], device=student.model.device)
    drawing = {"temperature": temperature, "top_k": 0} if temperature else {}
    whole = student.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=student.card.max_new_tokens,
        eos_token_id=student.chat.end,
        pad_token_id=student.chat.end,
        do_sample=temperature > 0,
        **drawing,
    )
    turn: list[int] = whole[0, len(prompt) :].tolist()
    return turn

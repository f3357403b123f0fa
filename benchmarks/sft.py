"""Times SFT on whole dialogs beside SFT on a row per turn, and against the machine's matrix products."""

import json
import math
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutee_grader.errors import TuteeError
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.dialog import Dialog, read_dialogs
from tutee_serializer.dialogs.tokens import TokenCounter
from tutee_serializer.dialogs.truncation import fit
from tutee_trainer.adapters import new_adapter
from tutee_trainer.methods.sft import SftConfig, arguments
from tutee_trainer.model import compute_dtype, load_chat, load_model
from tutee_trainer.needs import adapter_parameters, measure, measure_rate
from tutee_trainer.preset import Preset
from tutee_trainer.rows import tokenize
from tutee_trainer.running import prepare
from tutee_trainer.training import IGNORED, silence_libraries

Rows = Sequence[dict[str, list[int]]]
LENGTH = 2048  # tokens: room for whole dialogs, which the presets for two cores cut


def bench_sft(preset: Preset, base: Path, dialogs: Path, sample: int = 32) -> dict[str, Any]:
    """One optimizer step over `sample` training dialogs, in one pass and in a row per turn.

    Prints and returns the result. Both ways have the same model and the same turns to learn, so their losses
    must agree. `mfu` (model FLOPs utilization) is the floating-point work of the one pass over what the
    machine's matrix products do in that time, in each type that models are computed in.
    """
    import torch

    silence_libraries()
    preset = _with_whole_dialogs(preset)
    chat, model = load_chat(preset, base), load_model(preset, base)
    read = read_dialogs(dialogs, preset.format, preset.dialog.feedback, "train")
    chosen = random.Random(0).sample(read, min(sample, len(read)))
    config = preset.section("sft", SftConfig)
    # A dialog in several pieces has less before its turns than a row per turn: the losses would differ.
    pieces = [(dialog, tokenize([dialog], chat, preset)) for dialog in chosen]
    whole = [(dialog, rows[0]) for dialog, rows in pieces if len(rows) == 1]
    adapted = new_adapter(model, preset.lora, config.seed)
    ways = {
        "one pass": [row for _, row in whole],
        "a row per turn": rows_per_turn([dialog for dialog, _ in whole], chat, preset),
    }
    rates = {name: measure_rate(getattr(torch, name), 5) for name in ("float32", "bfloat16")}
    seconds, losses = {}, {}
    for name, rows in ways.items():
        seconds[name], losses[name] = _one_step(adapted, rows, preset, chat)
    turns = len(ways["a row per turn"])
    tokens = {name: sum(len(row["input_ids"]) for row in rows) for name, rows in ways.items()}
    for name, rows in ways.items():
        print(
            f"{name:<14} {len(rows):>5} rows, {tokens[name]:>7,} tokens, {seconds[name]:6.1f} s, "
            f"{turns / seconds[name]:5.2f} turns/s, {tokens[name] / seconds[name]:5.0f} tokens/s, "
            f"loss {losses[name]:.4f}"
        )
    if not math.isclose(*losses.values(), rel_tol=0.02):
        raise TuteeError("the two ways have other losses, so their times mean nothing")
    achieved = _work(preset, ways["one pass"]) / seconds["one pass"]
    result = {
        "bench": "sft",
        "preset": preset.name,
        "turns": turns,
        "ratio": round(seconds["a row per turn"] / seconds["one pass"], 2),
        "tokens_per_second": round(tokens["one pass"] / seconds["one pass"]),
        "dtype": str(compute_dtype(preset)).removeprefix("torch."),
        "gflops": {name: round(rate / 1e9) for name, rate in rates.items()},
        "mfu": {name: round(achieved / rate, 3) for name, rate in rates.items()},
    }
    print(json.dumps(result))
    return result


def _with_whole_dialogs(preset: Preset) -> Preset:
    sections = preset.model_dump()
    sections["dialog"]["max_length"] = max(LENGTH, preset.dialog.max_length)
    return Preset.parse(sections)


def rows_per_turn(dialogs: Sequence[Dialog], chat: Chat, preset: Preset) -> list[dict[str, list[int]]]:
    """The usual rows: each of the student's turns, which has the loss, after all that precedes it."""
    count = TokenCounter(chat)
    room = count.room(preset.dialog.max_length)
    rows = []
    for dialog in dialogs:
        for turn in dialog.turns():
            piece = fit(dialog.messages[: turn.index + 1], room, count)
            if piece is None:
                continue
            ids, turns = chat.encode(piece)
            last = turns[-1]
            labels = [token if turn == last else IGNORED for token, turn in zip(ids, turns, strict=True)]
            rows.append({"input_ids": ids, "labels": labels})
    return rows


def _one_step(model: Any, rows: Rows, preset: Preset, chat: Chat) -> tuple[float, float]:
    """Seconds and loss of one optimizer step over all rows, in micro-batches of similar length.

    A step over the longest rows goes before: the first one of a process waits for the system's memory.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    settings = arguments(preset, len(rows))
    size = settings["per_device_train_batch_size"]
    # With such a learning rate every training starts from the same model.
    settings |= {"max_steps": 1, "warmup_steps": 0, "learning_rate": 1e-12}
    ordered = sorted(rows, key=lambda row: len(row["input_ids"]))
    with tempfile.TemporaryDirectory() as folder:
        for part in (ordered[-size:], ordered):
            settings["gradient_accumulation_steps"] = math.ceil(len(part) / size)
            trainer = SFTTrainer(
                model=model,
                args=SFTConfig(output_dir=folder, **settings),
                train_dataset=Dataset.from_list(part),
                processing_class=chat.tokenizer,
            )
            prepare(trainer.model, settings)
            started = time.perf_counter()
            trainer.train()
            seconds = time.perf_counter() - started
    return seconds, trainer.state.log_history[0]["loss"]


def _work(preset: Preset, rows: Rows) -> float:
    """Floating-point operations that the rows need at least, forward and backward.

    Frozen weights take a product each way, the adapter's a third for their own gradient, attention (over the
    tokens before) two more. Only the student's tokens need the projection to the vocabulary.
    """
    size = measure(preset)
    tokens = sum(len(row["input_ids"]) for row in rows)
    written = sum(label != IGNORED for row in rows for label in row["labels"])
    seen = sum(len(row["input_ids"]) ** 2 for row in rows) / 2
    weights = 4 * (tokens * size.matrices + written * size.vocabulary * size.hidden)
    adapter = 6 * tokens * adapter_parameters(size, preset.lora.rank)
    return weights + adapter + 3 * seen * 4 * size.hidden * size.layers

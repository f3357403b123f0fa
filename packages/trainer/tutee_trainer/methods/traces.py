"""TRACES: as PARA, on as many tokens as students learn from last programs, or from synthetic traces.

The comparison of arXiv 2510.05056 (Pencil Code): does a model learn more of students from what they really
did than from what they ended with? This file has what the three methods share; each trains on the same
students, without feedback (no grader has seen the programs of a synthetic trace), by the same section of the
preset, and on the same number of tokens.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from tutee_grader.errors import InputError
from tutee_serializer.dialogs.dialog import Dialog, read_dialogs
from tutee_trainer.method import Method, Settings
from tutee_trainer.methods.sft import train_on_rows
from tutee_trainer.model import load_chat
from tutee_trainer.preset import DialogConfig, Preset
from tutee_trainer.rows import tokenize
from tutee_trainer.training import (
    AdapterMethodConfig,
    TrainingJob,
    TrainingResult,
    plan,
    shared_arguments,
    silence_libraries,
)

Row = dict[str, list[int]]


class TracesConfig(AdapterMethodConfig):
    """Section `traces`, of all three methods, so that they differ in what they learn from alone.

    Each is planned by itself, as SFT would be; then all are cut to the tokens of the shortest plan.
    """

    def check_dialog(self, dialog: DialogConfig) -> None:
        """Raises ValueError where the first turn is not learnt: a last program is the only one there is."""
        if not dialog.first_is_target:
            raise ValueError("traces: last_states has nothing to learn with dialog.first_is_target: false")


def arguments(preset: Preset, examples: int | None = None) -> Settings:
    """TRL's arguments; `examples` counts pieces of dialogs."""
    config = preset.section("traces", TracesConfig)
    return shared_arguments(preset, config, examples) | {"max_length": preset.dialog.max_length}


def real_traces(dialog: Dialog) -> Iterator[Dialog]:
    """The dialog as it is."""
    yield dialog


def last_states(dialog: Dialog) -> Iterator[Dialog]:
    """A dialog for each task: the student's last program on it is their only turn."""
    for task, program in _last_programs(dialog):
        yield _written(dialog, task, [program])


def synthetic_traces(dialog: Dialog) -> Iterator[Dialog]:
    """A dialog for each task: the student's last program on it, as if it had been written line by line."""
    for task, program in _last_programs(dialog):
        yield _written(dialog, task, prefixes(program))


KINDS: Mapping[str, Callable[[Dialog], Iterator[Dialog]]] = {
    "traces": real_traces,
    "last_states": last_states,
    "synthetic_traces": synthetic_traces,
}  # by the method's name


def prefixes(program: str) -> list[str]:
    """The program up to each line that is not blank, from the first to the last; the last is the whole."""
    lines = program.split("\n")
    ends = [number for number, line in enumerate(lines, 1) if line.strip()]
    return ["\n".join(lines[:end]) for end in ends[:-1]] + [program]


def cut_to(rows: Sequence[Row], tokens: int) -> list[Row]:
    """The first of the rows, which have so many tokens together; the last of them is cut short."""
    kept: list[Row] = []
    for row in rows:
        if tokens <= 0:
            break
        kept.append({name: ids[:tokens] for name, ids in row.items()})
        tokens -= len(row["input_ids"])
    return kept


def train_on(job: TrainingJob, method: str) -> TrainingResult:
    """Trains an adapter on one of KINDS, on as many tokens as on each of the others."""
    preset, config = job.preset, job.preset.section("traces", TracesConfig)
    silence_libraries()
    chat = load_chat(preset, job.base)
    dialogs = read_dialogs(job.data, preset.format, "none", "train")
    plans: dict[str, tuple[Settings, list[Row]]] = {}
    for kind, written in KINDS.items():
        rows = tokenize([new for dialog in dialogs for new in written(dialog)], chat, preset)
        if not rows:
            raise InputError(
                f"{job.data}: no dialog of {kind} fits dialog.max_length of preset {preset.name}"
            )
        plans[kind] = plan(preset, config, arguments, rows)
    planned = {kind: sum(len(row["input_ids"]) for row in rows) for kind, (_, rows) in plans.items()}
    tokens = min(planned.values())
    words = ", ".join(f"{kind} {count:,}" for kind, count in planned.items())
    print(f"{method}: cut to {tokens:,} tokens, the fewest of the three ({words})", flush=True)
    settings, rows = plans[method]
    kept = cut_to(rows, tokens)
    settings["max_steps"] = math.ceil(len(kept) / config.batch)
    figures: dict[str, Any] = {"dialogs": len(dialogs), "pieces": len(kept), "planned_tokens": planned}
    return train_on_rows(job, method, "none", config, chat, settings, kept, figures)


def train(job: TrainingJob) -> TrainingResult:
    """Trains on the real traces."""
    return train_on(job, "traces")


def _last_programs(dialog: Dialog) -> Iterator[tuple[int, str]]:
    """The place of each task in the messages, with the student's last program on it."""
    for task, turns in groupby(dialog.turns(), key=lambda turn: turn.task):
        *_, last = turns
        yield task, last.program


def _written(dialog: Dialog, task: int, programs: Sequence[str]) -> Dialog:
    """A dialog with the same task in which the student hands in these programs, without feedback."""
    written = Dialog(dialog.format, "none", [dialog.messages[0], dialog.messages[task]])
    for program in programs:
        written.append(program, "")
    written.messages.pop()  # what the last program is answered
    return written


METHOD = Method(
    name="traces",
    start="base",
    learns_from="dialogs",
    section="traces",
    config=TracesConfig,
    train=train,
    arguments=arguments,
    trl_config="SFTConfig",
    optional=True,
)

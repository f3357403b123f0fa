"""What a retrain will need on this machine, in lines for `tutee validate`."""

from collections.abc import Callable, Iterator
from statistics import mean
from typing import Any

import polars as pl

from flows.parameters import Setup
from tutee_grader.files import read_table
from tutee_grader.verdict import VERDICTS, Status
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import Format
from tutee_serializer.dialogs.serialize import serialize
from tutee_serializer.dialogs.turn_sizes import tokens_per_turn
from tutee_serializer.ingest.ingest import IngestResult
from tutee_serializer.schemas import DIALOGS
from tutee_trainer.model import compute_dtype
from tutee_trainer.needs import MEASURED_S, TRAINING_SHARE, WRITING_SHARE, Size, measure, measure_rate, stages
from tutee_trainer.preset import Preset, PretrainedModel
from tutee_trainer.pretrained import load_tokenizer

CHARACTERS_PER_TOKEN = 3.0  # of a tiny model, whose tokenizer does not exist yet
GUESSED_FEEDBACK = "Passed 1 of 3 tests. The first failed: f(1) returned 2, expected 3."


def needs(setup: Setup, log: IngestResult) -> Iterator[str]:
    """The lines: the model, the dialogs, and for each stage tokens, time, memory and the adapter's size.

    `log` is the course's, for the dialogs where none are serialized yet.

    Raises UnavailableError where the model cannot be reached.
    """
    preset = setup.preset
    size = measure(preset)
    yield (
        f"model       {_name(preset)}: {size.parameters / 1e6:,.1f} million parameters, "
        f"{size.weights / 1e9:.2f} GB of weights"
    )
    dialogs, is_estimate = _dialogs(setup, log)
    count = _counter(preset)
    tokens = [sum(count(message["content"]) for message in dialog.messages) for dialog in dialogs]
    turns = sum(len(list(dialog.turns())) for dialog in dialogs)
    how = "as the log has them, their feedback guessed" if is_estimate else "as serialized"
    yield (f"dialogs     {len(dialogs):,} of {turns:,} turns and {sum(tokens):,} tokens to train on, {how}")
    edits = Format.PLAIN_EDITS if isinstance(preset.model, PretrainedModel) else Format.EDITS
    sizes = tokens_per_turn(dialogs, count, edits)
    yield "turns       tokens of the student's turn by format: " + ", ".join(
        f"{format} {size:.1f}" for format, size in sizes.items()
    )
    rate = measure_rate(compute_dtype(preset))
    yield f"speed       {rate / 1e9:,.0f} GFLOP/s of matrix products, measured for {MEASURED_S:.0f} s"
    whole = mean(tokens)
    prompt = 0.6 * whole  # on average the first half of its dialog, with a turn; a pair has it twice
    per_example = {"dialogs": whole, "pairs": 2 * prompt, "prompts": prompt}
    examples = {"dialogs": len(dialogs), "pairs": turns - len(dialogs), "prompts": turns}
    total = 0.0
    for stage in stages(preset, size, examples, per_example):
        if stage.name in setup.parameters.methods:
            seconds = stage.seconds(rate)
            total += seconds
            yield (
                f"{stage.name:<11} {stage.tokens:,.0f} tokens, {_minutes(seconds)}, at the most "
                f"{stage.memory / 1e9:.1f} GB of memory, an adapter of {stage.adapter / 1e6:.1f} MB"
            )
    rollouts = len(setup.parameters.methods) * _rollout_flop(setup, size, prompt, turns) / rate
    yield f"rollouts    of {len(setup.parameters.methods)} methods, {_minutes(rollouts)}"
    yield f"in all      {_minutes(total + rollouts)}, estimated from the measured speed"


def _name(preset: Preset) -> str:
    model = preset.model
    return model.pretrained if isinstance(model, PretrainedModel) else "random weights"


def _dialogs(setup: Setup, log: IngestResult) -> tuple[list[Dialog], bool]:
    """The training students' dialogs, and whether they are an estimate: the log is not graded yet."""
    places = setup.places
    preset = setup.preset
    if places.dialogs.exists():
        table = read_table(places.dialogs, DIALOGS, "serialize")
        mine = table.filter(split="train", feedback=preset.dialog.feedback, format=preset.format)
        if mine.height:
            return [Dialog.from_row(row) for row in mine.iter_rows(named=True)], False
    guessed = log.submissions.select(
        "submission_id",
        grade=pl.lit(0.0),
        status=pl.lit(str(Status.COMPILES)),
        tests=pl.lit([], VERDICTS["tests"]),
        feedback=pl.lit(GUESSED_FEEDBACK),
    )
    verdicts = pl.concat([pl.DataFrame(schema=VERDICTS), guessed], how="diagonal")
    dialogs, _ = serialize(
        log.submissions,
        verdicts,
        setup.course,
        setup.parameters.serialize,
        preset.format,
        preset.dialog.feedback,
    )
    mine = dialogs.filter(split="train", feedback=preset.dialog.feedback)
    return [Dialog.from_row(row) for row in mine.iter_rows(named=True)], True


def _counter(preset: Preset) -> Callable[[str], int]:
    if not isinstance(preset.model, PretrainedModel):
        return lambda text: round(len(text) / CHARACTERS_PER_TOKEN)
    tokenizer: Any = load_tokenizer(preset)
    return lambda text: len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _rollout_flop(setup: Setup, size: Size, prompt: float, turns: int) -> float:
    """The work of one method's rollouts: each start's prompt is read, and each step's turn and feedback."""
    config, dialog = setup.preset.rollout, setup.preset.dialog
    starts = config.max_starts or turns  # the test semester is taken to be like the training ones
    steps = starts * (1 + config.samples) * config.steps * 0.45  # many starts are near the end
    written = steps * dialog.max_new_tokens / 4
    reading = (starts * prompt + 2 * written) / TRAINING_SHARE
    return 2 * size.parameters * (reading + written / WRITING_SHARE)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"

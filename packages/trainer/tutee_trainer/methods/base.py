"""BASE: a tiny model trained whole from random weights, or a card that names a pretrained one."""

import json
import time
from typing import Annotated

from pydantic import Field

from tutee_grader.files import atomic_dir
from tutee_trainer.adapters import student_card
from tutee_trainer.method import Method
from tutee_trainer.preset import Count, MethodConfig, PretrainedModel, Rate, Share
from tutee_trainer.pretrained import check, convert_gguf, find_source, load_tokenizer
from tutee_trainer.training import TrainingJob, TrainingResult, silence_libraries


class BaseConfig(MethodConfig):
    """Section `base`, of a tiny model. `tokens` and `batch_tokens` count padded tokens.

    `renamed` is the share of dialogs with other variable names, `no_feedback` that of dialogs without the
    grader's feedback. `prompt_weight` is the weight in the loss of a token that the student does not write;
    the student's own weigh 1. The validation loss is measured `evaluations` times, and training stops once
    it has not fallen for `patience` of them.
    """

    tokens: Count
    batch_tokens: Count
    learning_rate: Rate
    embedding_learning_rate: Rate
    warmup: Annotated[float, Field(gt=0, le=1)] = 0.05
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    prompt_weight: Annotated[float, Field(ge=0, lt=1)] = 0.5
    renamed: Share = 0.3
    no_feedback: Share = 0.2
    evaluations: Count = 6
    patience: Count = 2
    seed: int = 0


def train(job: TrainingJob) -> TrainingResult:
    """Trains a tiny model on the training students' dialogs; the validation students say when to stop.

    For a pretrained preset nothing is trained: after a check that this machine can train the model, the
    folder holds its tokenizer and a card that names it, and the weights of a GGUF file.
    """
    started = time.perf_counter()
    preset = job.preset
    silence_libraries()
    if isinstance(preset.model, PretrainedModel):
        check(preset)
        return _write_pretrained(job, preset.model, started)
    config = preset.section("base", BaseConfig)

    from tutee_trainer.tiny.training import train_tiny

    model, tokenizer, training = train_tiny(preset, config, job.data, job.tracker)
    with atomic_dir(job.output) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "training.json").write_text(json.dumps(training, indent=2) + "\n", encoding="utf-8")
        student_card(preset, job.course, "base", preset.dialog.feedback, ".").save(folder)
    return TrainingResult(
        job.output,
        training["dialogs"],
        training["steps"],
        training["tokens"],
        training["validation_loss"],
        time.perf_counter() - started,
        f"{training['parameters']:,} parameters",
    )


def _write_pretrained(job: TrainingJob, model: PretrainedModel, started: float) -> TrainingResult:
    """Writes the tokenizer and the card; for a GGUF file also the weights, as transformers loads them."""
    preset, source = job.preset, find_source(model)
    with atomic_dir(job.output) as folder:
        load_tokenizer(preset).save_pretrained(folder)
        base = "." if source.is_gguf else source.name
        revision = source.keywords.get("revision")
        if source.is_gguf:
            convert_gguf(preset, folder)
        student_card(preset, job.course, "base", preset.feedback, base, revision).save(folder)
    how = "its weights converted from GGUF" if source.is_gguf else "by name"
    note = f"{model.pretrained}, {how}"
    return TrainingResult(job.output, 0, 0, 0, 0.0, time.perf_counter() - started, note)


METHOD = Method(
    name="base",
    start=None,
    learns_from="dialogs",
    section="base",
    config=BaseConfig,
    train=train,
    optional=True,
    kinds=("programs", "learner"),
)

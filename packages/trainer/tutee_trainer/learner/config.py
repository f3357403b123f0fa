"""Section `learner` of a preset, and what it comes to: a judge, and conversations that fit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tutee_grader.errors import InputError
from tutee_serializer.dialogs.chat import Chat
from tutee_trainer.learner.conversation import SYSTEM, Conversation
from tutee_trainer.learner.judge import Judge, JudgeConfig
from tutee_trainer.learner.reward import Weights
from tutee_trainer.learner.topics import Topic
from tutee_trainer.preset import Count, Preset, Rate
from tutee_trainer.training import AdapterMethodConfig


class LearnerConfig(AdapterMethodConfig):
    """Section `learner`, with `dialog.kind: learner`: `samples` turns a prompt, rewarded by `weights`.

    A prompt is a conversation up to the teacher's first to `depth`-th words, drawn at random; the learner's
    own turns in it are the present model's. `start: sft` begins with the adapter that SFT made of the log's
    conversations, `base` with a new one. `system` says who the model plays. `tag` names the tags of the part
    `reasons`. There is no real next turn to measure a log score on, so there are no `evaluations`.
    """

    start: Literal["base", "sft"] = "base"
    system: str = SYSTEM
    samples: Annotated[int, Field(ge=2)] = 4
    temperature: Rate = 1.0
    epsilon: Rate = 0.2
    epsilon_high: Rate = 0.28
    depth: Count = 2
    tag: Annotated[str, Field(pattern=r"^[a-z]+$")] = "think"
    weights: Weights = Weights()
    judge: JudgeConfig | None = None
    evaluations: Annotated[int, Field(ge=0, le=0)] = 0

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.batch % self.samples:
            raise ValueError(f"batch ({self.batch}) must be a multiple of samples ({self.samples})")
        if not self.weights.used:
            raise ValueError("weights: all are 0, so that nothing is rewarded; give one part a weight")
        if self.weights.judge and self.judge is None:
            raise ValueError("weights.judge is not 0, and there is no `judge`; add it, or remove the weight")
        if self.judge and not self.weights.judge:
            raise ValueError("weights.judge is 0, so that `judge` has no use; give it a weight, or remove it")
        return self


def make_judge(config: LearnerConfig, cache: Path | None) -> Judge | None:
    """The judge that the section names, if it names one; its answers are kept in `cache`."""
    if config.judge is None:
        return None
    if cache is None:
        raise InputError("learner.judge needs a place for what it answers, `judgements` of the job")
    return Judge(config.judge, cache)


def check_lengths(topics: Sequence[Topic], preset: Preset, config: LearnerConfig, chat: Chat) -> None:
    """Raises InputError that names the topics whose conversations may be longer than `dialog.max_length`."""
    longest, turn = preset.dialog.max_length, preset.dialog.max_new_tokens
    problems = []
    for topic in topics:
        conversation = Conversation(topic, config.system, config.tag)
        said = chat.prompt(
            [*conversation.messages, *({"role": "user", "content": text} for text in topic.follow_ups)]
        )
        most = len(said) + len(topic.teacher) * (turn + chat.markup)
        if most > longest:
            problems.append(f"topic {topic.name!r} may take {most} tokens")
    if problems:
        raise InputError(
            f"preset {preset.name}: dialog.max_length is {longest}, and {'; '.join(problems)}; raise it, or "
            "shorten them"
        )

"""LEARNER: reinforcement learning of a learner who answers a scripted teacher, rewarded by named parts."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tutee_grader.errors import InputError
from tutee_serializer.dialogs.chat import Chat
from tutee_trainer.adapters import check_same_base, load_adapter, new_adapter
from tutee_trainer.learner.config import LearnerConfig, check_lengths, make_judge
from tutee_trainer.learner.conversation import Conversation, in_context, write
from tutee_trainer.learner.judge import Judge
from tutee_trainer.learner.reward import score_parts
from tutee_trainer.learner.topics import Topic, read_topics
from tutee_trainer.method import Method, Settings
from tutee_trainer.model import load_chat, load_model
from tutee_trainer.preset import Preset
from tutee_trainer.running import Run
from tutee_trainer.training import (
    TrainingJob,
    TrainingResult,
    check_start,
    shared_arguments,
    silence_libraries,
)


def arguments(preset: Preset, examples: int | None = None) -> Settings:
    """TRL's arguments; `examples` counts turns, prompts times samples.

    Turns that are cut off are not masked: a model that never ends a turn would learn nothing, and the part
    `finishes` is there to teach it that.
    """
    config = preset.section("learner", LearnerConfig)
    return shared_arguments(preset, config, examples) | {
        "loss_type": "dapo",
        "beta": 0.0,
        "epsilon": config.epsilon,
        "epsilon_high": config.epsilon_high,
        "scale_rewards": "group",
        "mask_truncated_completions": False,
        "num_generations": config.samples,
        "temperature": config.temperature,
        "max_completion_length": preset.dialog.max_new_tokens,
        "reward_weights": list(config.weights.used.values()),
    }


def train(job: TrainingJob) -> TrainingResult:
    """Trains by GRPO (arXiv 2402.03300) on the training topics, which are the file `job.data`."""
    preset, config = job.preset, job.preset.section("learner", LearnerConfig)
    if config.start == "sft":
        start = job.warm_start
        if start is None:
            raise InputError("learner.start is sft, and the job names no adapter in `warm_start`")
        check_start(replace(job, start=start), "sft")
        check_same_base(start, job.base)
    topics = read_topics(job.data, "train")
    silence_libraries()
    chat = load_chat(preset, job.base)
    check_lengths(topics, preset, config, chat)
    judge = make_judge(config, job.judgements)
    settings = arguments(preset, len(topics) * config.samples)

    def make_trainer(settings: Settings, folder: Path) -> Any:
        from datasets import Dataset
        from trl import GRPOConfig, GRPOTrainer

        model = load_model(preset, job.base)
        adapted = (
            load_adapter(model, job.warm_start, seed=config.seed)
            if config.start == "sft" and job.warm_start
            else new_adapter(model, preset.lora, config.seed)
        )
        # TRL asks for as many prompts as the steps take; the sampler draws them.
        asked = [{"prompt": ""}] * (settings["max_steps"] * config.batch // config.samples)
        return GRPOTrainer(
            model=adapted,
            reward_funcs=[_part(name) for name in config.weights.used],
            args=GRPOConfig(output_dir=str(folder), **settings),
            train_dataset=Dataset.from_list(asked),
            processing_class=chat.tokenizer,
            rollout_func=_Sampler(topics, chat, preset, config, judge),
        )

    rows = [topic.model_dump() for topic in topics]
    run = Run(
        job, "learner", "none", chat, settings, rows, [], len(topics), make_trainer, loss_falls=False
    )  # fmt: skip
    result = run.train({"topics": len(topics)})
    return replace(result, note=f"{result.note}; judge: {judge.counts}") if judge else result


class _Sampler:
    """TRL's `rollout_func`: gives a step its samples, and the value of each part of their reward.

    Topics are drawn in a shuffled order, again and again. What is drawn depends on the seed and the step
    alone, so that a run goes on after a kill as it would have.
    """

    def __init__(
        self, topics: Sequence[Topic], chat: Chat, preset: Preset, config: LearnerConfig, judge: Judge | None
    ) -> None:
        self._topics = random.Random(config.seed).sample(list(topics), len(topics))
        self._chat, self._config, self._judge = chat, config, judge
        self._max_new_tokens = preset.dialog.max_new_tokens

    def __call__(self, asked: list[Any], trainer: Any) -> dict[str, Any]:
        config, step = self._config, trainer.state.global_step
        draws = random.Random(hash((config.seed, step, trainer.accelerator.process_index)))
        wanted = len(asked) // config.samples
        conversations = self._begin(wanted, trainer, draws)
        repeated = [one for one in conversations for _ in range(config.samples)]
        written = self._write(repeated, trainer, draws)
        answers = in_context(
            [one.answer(turn) for one, (_, _, turn) in zip(repeated, written, strict=True)], self._topics
        )
        return {
            "prompt_ids": [prompt for prompt, _, _ in written],
            "completion_ids": [tokens for _, tokens, _ in written],
            "logprobs": None,
            **score_parts(answers, list(config.weights.used), config.samples, self._judge),
        }

    def _begin(self, count: int, trainer: Any, draws: random.Random) -> list[Conversation]:
        """The next topics, each with a conversation that the present model has led up to its turn."""
        config, accelerator = self._config, trainer.accelerator
        first = (trainer.state.global_step * accelerator.num_processes + accelerator.process_index) * count
        topics = [self._topics[(first + number) % len(self._topics)] for number in range(count)]
        begun = [Conversation(topic, config.system, config.tag) for topic in topics]
        depths = [draws.randrange(min(config.depth, len(topic.teacher))) for topic in topics]
        for depth in range(max(depths)):
            going = [one for one, deep in zip(begun, depths, strict=True) if depth < deep]
            for one, (_, _, turn) in zip(going, self._write(going, trainer, draws), strict=True):
                one.turns.append(turn)
        return begun

    def _write(self, conversations: Sequence[Conversation], trainer: Any, draws: random.Random) -> Any:
        return write(
            conversations,
            trainer.accelerator.unwrap_model(trainer.model),
            self._chat,
            self._max_new_tokens,
            self._config.temperature,
            draws.getrandbits(63),
            max(self._config.samples, trainer.args.per_device_train_batch_size),
        )


def _part(name: str) -> Any:
    """A reward of TRL, which logs its mean by the function's name: the sampler's values of a part."""

    def values(completions: Any, **columns: Any) -> list[float]:
        return list(columns[name])

    values.__name__ = name
    return values


METHOD = Method(
    name="learner",
    start="base",
    learns_from="topics",
    section="learner",
    config=LearnerConfig,
    train=train,
    arguments=arguments,
    trl_config="GRPOConfig",
    optional=True,
    kinds=("learner",),
)

"""DAPO: online reinforcement learning from the SFT adapter, rewarded by the grader."""

import random
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from tutee_grader.errors import InputError
from tutee_grader.grader import Grader
from tutee_serializer.dialogs.chat import Chat
from tutee_serializer.dialogs.dialog import contents, read_dialogs
from tutee_serializer.dialogs.formats import assignments_by_turn
from tutee_serializer.dialogs.tokens import TokenCounter
from tutee_serializer.dialogs.truncation import fit
from tutee_trainer.adapters import load_adapter
from tutee_trainer.method import Method, Settings
from tutee_trainer.model import load_chat, load_model
from tutee_trainer.preset import Count, DialogConfig, Preset, Rate
from tutee_trainer.proper_reward import LEAST_SAMPLES
from tutee_trainer.reward import RewardConfig, Target, rewards
from tutee_trainer.rows import validation_rows
from tutee_trainer.running import Run
from tutee_trainer.sampling import Prompt, Sampler, Sampling
from tutee_trainer.training import (
    AdapterMethodConfig,
    TrainingJob,
    TrainingResult,
    check_start,
    shared_arguments,
    silence_libraries,
)


class DapoConfig(AdapterMethodConfig):
    """Section `dapo`: `samples` completions a prompt, rewarded by the grader.

    `max_prompt` caps a prompt's tokens; the oldest turns go first. At most `prompts_per_trajectory` turns of
    a trajectory, and `max_prompts` in all, are drawn. A prompt whose samples all earn the same reward
    teaches nothing: further prompts take its place, in up to `rounds` rounds of sampling a step (1: it
    stays).
    """

    samples: Annotated[int, Field(ge=2)] = 4
    temperature: Rate = 1.0
    epsilon: Rate = 0.2
    epsilon_high: Rate = 0.28
    max_prompt: Count
    prompts_per_trajectory: Count | None = None
    max_prompts: Count | None = None
    rounds: Count = 4
    reward: RewardConfig = RewardConfig()

    @model_validator(mode="after")
    def _samples_divide(self) -> Self:
        if self.batch % self.samples:
            raise ValueError(f"batch ({self.batch}) must be a multiple of samples ({self.samples})")
        if self.reward.kind == "scores" and self.samples < LEAST_SAMPLES:
            raise ValueError(f"reward.kind scores needs {LEAST_SAMPLES} samples or more, not {self.samples}")
        return self

    def check_dialog(self, dialog: DialogConfig) -> None:
        longest = dialog.max_length - dialog.max_new_tokens
        if self.max_prompt > longest:
            raise ValueError(
                f"dapo.max_prompt ({self.max_prompt}) exceeds max_length - max_new_tokens ({longest})"
            )


def arguments(preset: Preset, examples: int | None = None) -> Settings:
    """TRL's arguments; `examples` counts completions, prompts times samples."""
    config = preset.section("dapo", DapoConfig)
    return shared_arguments(preset, config, examples) | {
        "loss_type": "dapo",
        "beta": 0.0,
        "epsilon": config.epsilon,
        "epsilon_high": config.epsilon_high,
        "scale_rewards": "none",
        "mask_truncated_completions": True,
        "num_generations": config.samples,
        "temperature": config.temperature,
        "max_completion_length": preset.dialog.max_new_tokens,
    }


def train(job: TrainingJob) -> TrainingResult:
    """Trains by DAPO (arXiv 2503.14476): TRL's GRPO with that loss, and dynamic sampling."""
    preset, config = job.preset, job.preset.section("dapo", DapoConfig)
    check_start(job, "sft")
    silence_libraries()
    chat = load_chat(preset, job.base)
    prompts = _prompts(job, config, chat)
    validation = validation_rows(job, config, preset.dialog.feedback, chat)
    settings = arguments(preset, len(prompts) * config.samples)
    # TRL asks for as many prompts as the steps take; the sampler draws them, and draws on where it has to.
    asked = [{"prompt": ""}] * (settings["max_steps"] * config.batch // config.samples)
    sampling = Sampling(
        config.samples, config.temperature, config.rounds, preset.dialog.max_new_tokens, config.seed
    )
    with Grader(cache=job.verdict_cache) as grader:

        def score(turns: list[str], lengths: list[int], targets: list[Target]) -> list[float]:
            return rewards(
                turns,
                lengths,
                targets,
                config.samples,
                config.reward,
                job.assignments,
                grader,
                preset.format,
                preset.dialog.max_new_tokens,
            )

        def earned(completions: Any, reward: list[float], **_: Any) -> list[float]:
            return reward  # by the sampler, which had to know it

        def make_trainer(settings: Settings, folder: Path) -> Any:
            from datasets import Dataset
            from trl import GRPOConfig, GRPOTrainer

            model = load_model(preset, job.base)
            sampler = Sampler(prompts, chat, sampling, score)
            trainer = GRPOTrainer(
                model=load_adapter(model, job.start, seed=config.seed),
                reward_funcs=earned,
                args=GRPOConfig(output_dir=str(folder), **settings),
                train_dataset=Dataset.from_list(asked),
                processing_class=chat.tokenizer,
                rollout_func=sampler,
            )
            trainer.add_callback(sampler.position)
            return trainer

        rows = [[prompt.ids, vars(prompt.target)] for prompt in prompts]
        run = Run(
            job, "dapo", preset.dialog.feedback, chat, settings, rows, validation, len(prompts), make_trainer,
            loss_falls=False,
        )  # fmt: skip
        return run.train({"prompts": len(prompts)})


def _prompts(job: TrainingJob, config: DapoConfig, chat: Chat) -> list[Prompt]:
    """What precedes each of the training students' turns, and the turn that followed; in the order drawn."""
    format, tasks = job.preset.format, assignments_by_turn(job.preset.format, job.assignments)
    dialogs = read_dialogs(job.data, format, job.preset.dialog.feedback, "train")
    count = TokenCounter(chat, contents(dialogs))
    chance = random.Random(config.seed)
    prompts = []
    for dialog in dialogs:
        found = []
        for turn in dialog.turns():
            name = tasks.get(dialog.messages[turn.task]["content"])
            if name is None or (turn.previous is None and not job.preset.dialog.first_is_target):
                continue
            messages = fit(dialog.messages[: turn.index], count.room(config.max_prompt), count)
            if messages is not None:
                found.append((messages, Target(name, turn.previous, turn.program, turn.grade)))
        kept = min(len(found), config.prompts_per_trajectory or len(found))
        prompts += [Prompt(chat.prompt(messages), target) for messages, target in chance.sample(found, kept)]
    if not prompts:
        raise InputError(
            f"{job.data}: no prompt fits dapo.max_prompt ({config.max_prompt}) of preset {job.preset.name}"
        )
    chance.shuffle(prompts)
    return prompts[: config.max_prompts]


METHOD = Method(
    name="dapo",
    start="sft",
    learns_from="dialogs",
    section="dapo",
    config=DapoConfig,
    train=train,
    arguments=arguments,
    trl_config="GRPOConfig",
    candidate=True,
    uses_grader=True,
)

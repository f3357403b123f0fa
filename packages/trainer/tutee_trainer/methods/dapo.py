"""DAPO: online reinforcement learning from the SFT adapter, rewarded by the grader."""

import random
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator
from tqdm import tqdm

from tutee_grader.assignment import Assignment
from tutee_grader.errors import InputError
from tutee_grader.files import atomic_dir
from tutee_grader.grader import Grader
from tutee_serializer.dialogs.dialog import contents, read_dialogs
from tutee_serializer.dialogs.formats import Message, task_turn
from tutee_serializer.dialogs.tokens import TokenCounter
from tutee_serializer.dialogs.truncation import fit
from tutee_trainer.adapters import load_adapter
from tutee_trainer.method import Method, Settings
from tutee_trainer.model import load_base
from tutee_trainer.preset import Count, DialogConfig, Preset, Rate
from tutee_trainer.reward import RewardConfig, Target, rewards
from tutee_trainer.training import (
    AdapterMethodConfig,
    TrainingJob,
    TrainingResult,
    check_start,
    run_and_save,
    shared_arguments,
    silence_libraries,
)

Prompt = tuple[list[Message], Target]
Score = Callable[[list[str], list[int], list[Target]], list[float]]  # turns, lengths in tokens, targets


class DapoConfig(AdapterMethodConfig):
    """Section `dapo`: `samples` completions a prompt, rewarded by the grader.

    `max_prompt` caps a prompt's tokens; the oldest turns go first. `candidates` prompts are tried ahead, and
    those kept whose samples earn different rewards (None: all prompts, untried). `prompts_per_trajectory`
    and `max_prompts` cap how many prompts one trajectory gives, and all of them together (None: no cap).
    """

    samples: Annotated[int, Field(ge=2)] = 4
    temperature: Rate = 1.0
    epsilon: Rate = 0.2
    epsilon_high: Rate = 0.28
    max_prompt: Count
    candidates: Count | None = None
    prompts_per_trajectory: Count | None = None
    max_prompts: Count | None = None
    reward: RewardConfig = RewardConfig()

    @model_validator(mode="after")
    def _samples_divide(self) -> Self:
        if self.batch % self.samples:
            raise ValueError(f"batch ({self.batch}) must be a multiple of samples ({self.samples})")
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
    return shared_arguments(config, examples) | {
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
    """Trains by DAPO (arXiv 2503.14476), as TRL's GRPO implements it.

    TRL has no dynamic sampling, and a prompt whose samples all earn the same reward teaches nothing. So
    where the preset names `candidates`, the SFT adapter first answers that many prompts, and those are kept
    whose samples earn different rewards.
    """
    started = time.perf_counter()
    preset, config = job.preset, job.preset.section("dapo", DapoConfig)
    check_start(job, "sft")
    silence_libraries()
    model, tokenizer = load_base(preset, job.base)
    prompts = _prompts(job, config, tokenizer)
    random.Random(config.seed).shuffle(prompts)
    adapted = load_adapter(model, job.start, seed=config.seed)
    with Grader(cache=job.verdict_cache) as grader, atomic_dir(job.output) as folder:

        def score(turns: list[str], lengths: list[int], targets: list[Target]) -> list[float]:
            return rewards(
                turns,
                lengths,
                targets,
                config.samples,
                config.reward,
                job.assignments,
                grader,
                preset.dialog.format,
                preset.dialog.max_new_tokens,
            )

        def reward(completions: Any, completion_ids: Any, target: Any, **_: Any) -> list[float]:
            turns = [completion[0]["content"] for completion in completions]
            lengths = [len(ids) for ids in completion_ids]
            return score(turns, lengths, [Target(**row) for row in target])

        screened = len(prompts)
        if config.candidates is not None:
            screened = min(config.candidates, len(prompts))
            prompts = _with_different_rewards(adapted, tokenizer, prompts[:screened], preset, score)
        settings = arguments(preset, len(prompts) * config.samples)

        from datasets import Dataset
        from trl import GRPOConfig, GRPOTrainer

        rows = [{"prompt": messages, "target": vars(target)} for messages, target in prompts]
        trainer = GRPOTrainer(
            model=adapted,
            reward_funcs=reward,
            args=GRPOConfig(output_dir=str(folder), **settings),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        figures = {"screened": screened, "prompts": len(prompts), "arguments": settings}
        training = run_and_save(trainer, job, folder, "dapo", preset.dialog.feedback, figures)
    earned = [entry["reward"] for entry in training["history"]]
    quarter = max(1, len(earned) // 4)
    note = f"reward {sum(earned[:quarter]) / quarter:.2f} -> {sum(earned[-quarter:]) / quarter:.2f}"
    return TrainingResult.from_training(job.output, len(prompts), training, started, note)


def _prompts(job: TrainingJob, config: DapoConfig, tokenizer: Any) -> list[Prompt]:
    """What precedes each of the training students' turns but the first, and the turn that followed."""
    format, tasks = job.preset.dialog.format, _tasks(job.assignments, job.preset.dialog.format)
    dialogs = read_dialogs(job.data, format, job.preset.dialog.feedback, "train")
    count = TokenCounter(tokenizer, contents(dialogs))
    prompts = []
    for dialog in dialogs:
        for turn in dialog.turns():
            name = tasks.get(dialog.messages[turn.task]["content"])
            if name is None or turn.previous is None:
                continue
            messages = fit(dialog.messages[: turn.index], config.max_prompt, count)
            if messages is not None:
                prompts.append((messages, Target(name, turn.previous, turn.program, turn.grade)))
    if not prompts:
        raise InputError(
            f"{job.data}: no prompt fits dapo.max_prompt ({config.max_prompt}) of preset {job.preset.name}"
        )
    return prompts


def _tasks(assignments: Mapping[str, Assignment], format: str) -> dict[str, str]:
    """The name of the assignment that each task's turn belongs to."""
    return {task_turn(format, assignment.task): name for name, assignment in assignments.items()}


def _with_different_rewards(
    model: Any, tokenizer: Any, prompts: list[Prompt], preset: Preset, score: Score
) -> list[Prompt]:
    """The prompts whose samples earn different rewards; all, where none do."""
    import torch

    config = preset.section("dapo", DapoConfig)
    torch.manual_seed(config.seed)
    texts = [
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        for messages, _ in prompts
    ]
    order = sorted(range(len(prompts)), key=lambda row: len(texts[row]))
    tokenizer.padding_side = "left"
    kept = []
    model.eval()
    size = max(1, config.batch // config.samples)
    for start in tqdm(range(0, len(order), size), desc="choose prompts", disable=None, leave=False):
        rows = order[start : start + size]
        inputs = tokenizer(
            [texts[row] for row in rows], return_tensors="pt", padding=True, add_special_tokens=False
        ).to(model.device)
        with torch.inference_mode():
            completions = model.generate(
                **inputs,
                do_sample=True,
                temperature=config.temperature,
                top_k=0,
                num_return_sequences=config.samples,
                max_new_tokens=preset.dialog.max_new_tokens,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )[:, inputs["input_ids"].shape[1] :]
        turns = tokenizer.batch_decode(completions, skip_special_tokens=True)
        lengths = (completions != tokenizer.pad_token_id).sum(1).tolist()
        targets = [prompts[row][1] for row in rows for _ in range(config.samples)]
        earned = score(turns, lengths, targets)
        for place, row in enumerate(rows):
            group = earned[place * config.samples : (place + 1) * config.samples]
            if max(group) > min(group):
                kept.append(prompts[row])
    model.train()
    return kept or prompts


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

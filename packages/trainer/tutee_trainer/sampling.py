"""Samples the turns that a policy learns from, and draws on where a prompt's samples teach nothing (DAPO)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutee_trainer.reward import Target

if TYPE_CHECKING:
    from tutee_serializer.dialogs.chat import Chat

# Turns, their lengths in tokens, what each is compared with; the samples of one prompt are neighbours.
Score = Callable[[list[str], list[int], list[Target]], list[float]]


@dataclass(frozen=True)
class Prompt:
    """The tokens after which the student writes, and the real submission that followed."""

    ids: list[int]
    target: Target


@dataclass(frozen=True)
class Group:
    """The samples of one prompt, as tokens with their end, and the reward of each."""

    prompt: Prompt
    completions: list[list[int]]
    rewards: list[float]

    @property
    def teaches(self) -> bool:
        """Whether the rewards differ: only then has the policy's loss a gradient."""
        return max(self.rewards) > min(self.rewards)


@dataclass(frozen=True)
class Sampling:
    """`samples` turns a prompt, of at most `max_new_tokens` tokens each, in up to `rounds` rounds a step."""

    samples: int
    temperature: float
    rounds: int
    max_new_tokens: int
    seed: int


class Sampler:
    """TRL's `rollout_func`: gives a step its samples and their rewards (dynamic sampling, arXiv 2503.14476).

    The prompts that TRL passes only say how many it wants; they are drawn from `prompts` in order, again
    from the start after the last. What is drawn depends on the seed, the step and the position alone, so
    that a run goes on after a kill as it would have.
    """

    def __init__(self, prompts: Sequence[Prompt], chat: Chat, config: Sampling, score: Score) -> None:
        self._prompts, self._chat, self._config, self._score = prompts, chat, config, score
        self.position = _position()

    def __call__(self, asked: list[Any], trainer: Any) -> dict[str, Any]:
        wanted = len(asked) // self._config.samples
        groups: list[Group] = []
        spare: list[Group] = []
        for number in range(self._config.rounds):
            for group in self._sample(wanted - len(groups), trainer, number):
                (groups if group.teaches or self._config.rounds == 1 else spare).append(group)
            if len(groups) == wanted:
                break
        groups += spare[: wanted - len(groups)]
        return {
            "prompt_ids": [group.prompt.ids for group in groups for _ in group.completions],
            "completion_ids": [ids for group in groups for ids in group.completions],
            "logprobs": None,
            "reward": [reward for group in groups for reward in group.rewards],
        }

    def _sample(self, count: int, trainer: Any, number: int) -> Iterator[Group]:
        """The next `count` prompts with their samples; `number` is that of the round within the step."""
        prompts = [self._draw(trainer) for _ in range(count)]
        process = trainer.accelerator.process_index
        seed = hash((self._config.seed, trainer.state.global_step, number, process))
        completions = self._generate(trainer, prompts, seed)
        turns = [self._chat.decode(ids) for ids in completions]
        targets = [prompt.target for prompt in prompts for _ in range(self._config.samples)]
        rewards = self._score(turns, [len(ids) for ids in completions], targets)
        for place, prompt in enumerate(prompts):
            mine = slice(place * self._config.samples, (place + 1) * self._config.samples)
            yield Group(prompt, completions[mine], rewards[mine])

    def _draw(self, trainer: Any) -> Prompt:
        """The next prompt; several processes take turns."""
        accelerator = trainer.accelerator
        at = self.position.drawn * accelerator.num_processes + accelerator.process_index
        self.position.drawn += 1
        return self._prompts[at % len(self._prompts)]

    def _generate(self, trainer: Any, prompts: Sequence[Prompt], seed: int) -> list[list[int]]:
        """The samples of each prompt: on a GPU as many at once as TRL has examples there."""
        config = self._config
        repeated = [prompt.ids for prompt in prompts for _ in range(config.samples)]
        return write_turns(
            trainer.accelerator.unwrap_model(trainer.model),
            self._chat,
            repeated,
            config.max_new_tokens,
            config.temperature,
            seed,
            max(config.samples, trainer.args.per_device_train_batch_size),
        )


def write_turns(
    model: Any,
    chat: Chat,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    batch: int | None = None,
) -> list[list[int]]:
    """The tokens of a turn after each prompt, with its end; `batch` at once on a GPU (None: all).

    On a CPU always all: it reads all weights for each token, however many sequences that belongs to.
    """
    from tutee_evaluator.engines.generation import BatchGenerator

    at_once = len(prompts) if batch is None or model.device.type == "cpu" else batch
    generator = BatchGenerator(model, chat.end, max_new_tokens, batch=at_once, prefix_bytes=0)
    draws = random.Random(seed)
    for number, ids in enumerate(prompts):
        generator.add(number, ids, temperature, draws.getrandbits(63))
    trains = model.training
    model.eval()
    written = dict(generator.collect_all())
    model.train(trains)
    return [written[number] for number in range(len(prompts))]


def _position() -> Any:
    """A callback that keeps, with each checkpoint, how many prompts have been drawn."""
    from transformers import TrainerCallback

    class Position(TrainerCallback):
        """`drawn` prompts so far, by this process."""

        drawn = 0

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._file(args, state).write_text(json.dumps({"drawn": self.drawn}), encoding="utf-8")

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step:
                self.drawn = json.loads(self._file(args, state).read_text(encoding="utf-8"))["drawn"]

        def _file(self, args: Any, state: Any) -> Path:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            return checkpoint / f"prompts-{args.process_index}.json"

    return Position()

"""DAPO: online reinforcement learning from the SFT adapter, rewarded by the grader."""

import random
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from flows.places import Places
from tutee_grader import Assignment, Grader
from tutee_grader.errors import InputError
from tutee_grader.files import atomic_dir
from tutee_serializer.dialogs.formats import task_turn
from tutee_serializer.dialogs.truncation import truncate
from tutee_trainer.adapters import Trained, load_adapter, save_adapter
from tutee_trainer.arguments import dapo_config, dapo_settings
from tutee_trainer.conversations import Message, counter, read_dialogs
from tutee_trainer.model import load_base
from tutee_trainer.preset import Preset
from tutee_trainer.reward import Target, rewards
from tutee_trainer.running import hush, run, trained

Prompt = tuple[list[Message], Target]


def train_dapo(preset: Preset, places: Places, assignments: Mapping[str, Assignment]) -> Trained:
    """Trains models/COURSE/dapo from models/COURSE/sft (DAPO, arXiv 2503.14476, as TRL's GRPO has it).

    TRL has no dynamic sampling, and a prompt whose samples all earn the same teaches nothing. So where the
    preset names `candidates`, the SFT adapter first answers that many prompts, and those are kept whose
    samples earned different rewards.
    """
    started = time.perf_counter()
    if not (places.model("sft") / "student.json").exists():
        raise InputError(f"{places.model('sft')}: missing; run `tutee train sft` first")
    hush()
    model, tokenizer = load_base(preset, places.model("base"))
    prompts = _prompts(preset, places, assignments, tokenizer)
    random.Random(preset.dapo.seed).shuffle(prompts)
    adapted = load_adapter(model, places.model("sft"), seed=preset.dapo.seed)
    room, format = preset.dialog.max_new_tokens, preset.dialog.format
    with Grader(cache=places.verdict_cache) as grader, atomic_dir(places.model("dapo")) as folder:

        def score(contents: list[str], lengths: list[int], targets: list[Target]) -> list[float]:
            return rewards(contents, lengths, targets, assignments, grader, format, room)

        def reward(completions: Any, completion_ids: Any, target: Any, **_: Any) -> list[float]:
            contents = [completion[0]["content"] for completion in completions]
            lengths = [len(ids) for ids in completion_ids]
            return score(contents, lengths, [Target(**row) for row in target])

        screened = len(prompts)
        if preset.dapo.candidates is not None:
            screened = min(preset.dapo.candidates, len(prompts))
            prompts = _undecided(adapted, tokenizer, prompts[:screened], preset, score)
        settings = dapo_settings(preset, len(prompts) * preset.dapo.samples)

        from datasets import Dataset
        from trl import GRPOTrainer

        rows = [{"prompt": messages, "target": vars(target)} for messages, target in prompts]
        trainer = GRPOTrainer(
            model=adapted,
            reward_funcs=reward,
            args=dapo_config(settings, folder),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        training = {
            "screened": screened,
            "prompts": len(prompts),
            "arguments": settings,
            **run(trainer, "dapo"),
        }
        save_adapter(
            folder, trainer.model, tokenizer, preset, places.course, "dapo", preset.dialog.feedback, training
        )
    earned = [entry["reward"] for entry in training["history"]]
    tenth = max(1, len(earned) // 4)
    note = f"reward {sum(earned[:tenth]) / tenth:.2f} -> {sum(earned[-tenth:]) / tenth:.2f}"
    return trained(places.model("dapo"), len(prompts), training, started, note)


def _prompts(
    preset: Preset, places: Places, assignments: Mapping[str, Assignment], tokenizer: Any
) -> list[Prompt]:
    """What training students were shown before each turn but the first, and what they then did."""
    format = preset.dialog.format
    names = {task_turn(format, assignment.task): name for name, assignment in assignments.items()}
    dialogs = read_dialogs(places.dialogs, format, preset.dialog.feedback, "train")
    count = counter(tokenizer, dialogs)
    prompts = []
    for dialog in dialogs:
        for turn in dialog.turns():
            name = names.get(dialog.messages[turn.task]["content"])
            if name is None or turn.previous is None:
                continue
            messages = truncate(list(dialog.messages[: turn.index]), preset.dapo.max_prompt, count)
            if sum(count(message["content"]) for message in messages) <= preset.dapo.max_prompt:
                prompts.append((messages, Target(name, turn.previous, turn.program, turn.grade)))
    if not prompts:
        raise InputError(
            f"{places.dialogs}: no prompt fits dapo.max_prompt ({preset.dapo.max_prompt}) "
            f"of preset {preset.name}"
        )
    return prompts


def _undecided(model: Any, tokenizer: Any, prompts: list[Prompt], preset: Preset, score: Any) -> list[Prompt]:
    """The prompts whose samples earn different rewards; all, where none do."""
    import torch

    dapo = preset.dapo
    torch.manual_seed(dapo.seed)
    texts = [
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        for messages, _ in prompts
    ]
    order = sorted(range(len(prompts)), key=lambda row: len(texts[row]))
    tokenizer.padding_side = "left"
    kept = []
    model.eval()
    size = max(1, dapo.batch // dapo.samples)
    for start in tqdm(range(0, len(order), size), desc="choose prompts", disable=None, leave=False):
        rows = order[start : start + size]
        inputs = tokenizer(
            [texts[row] for row in rows], return_tensors="pt", padding=True, add_special_tokens=False
        ).to(model.device)
        with torch.inference_mode():
            written = model.generate(
                **inputs,
                do_sample=True,
                temperature=dapo.temperature,
                top_k=0,
                num_return_sequences=dapo.samples,
                max_new_tokens=preset.dialog.max_new_tokens,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )[:, inputs["input_ids"].shape[1] :]
        contents = tokenizer.batch_decode(written, skip_special_tokens=True)
        lengths = (written != tokenizer.pad_token_id).sum(1).tolist()
        targets = [prompts[row][1] for row in rows for _ in range(dapo.samples)]
        earned = score(contents, lengths, targets)
        for place, row in enumerate(rows):
            group = earned[place * dapo.samples : (place + 1) * dapo.samples]
            if max(group) > min(group):
                kept.append(prompts[row])
    model.train()
    return kept or prompts

"""Supervised fine-tuning of a LoRA adapter on students' dialogs: SFT, and PARA without the feedback."""

import time
from typing import Literal

from flows.places import Places
from tutee_grader.errors import InputError
from tutee_grader.files import atomic_dir
from tutee_trainer.adapters import Trained, new_adapter, save_adapter
from tutee_trainer.arguments import reached, sft_config, sft_settings
from tutee_trainer.conversations import counter, pieces, read_dialogs
from tutee_trainer.model import load_base
from tutee_trainer.preset import Preset
from tutee_trainer.running import hush, run, trained


def train_sft(preset: Preset, places: Places, method: Literal["sft", "para"] = "sft") -> Trained:
    """Trains models/COURSE/sft (or para) on the training students' dialogs, loss on their turns only.

    `para` reads the dialogs without feedback (ParaStudent, arXiv 2507.12674; REFERENCE's PARA).
    """
    started = time.perf_counter()
    feedback = preset.dialog.feedback if method == "sft" else "none"
    dialogs = read_dialogs(places.dialogs, preset.dialog.format, feedback, "train")
    hush()
    model, tokenizer = load_base(preset, places.model("base"))
    count = counter(tokenizer, dialogs)
    rows = [
        {"messages": piece} for dialog in dialogs for piece in pieces(dialog, preset.dialog.max_length, count)
    ]
    if not rows:
        raise InputError(f"{places.dialogs}: no dialog fits dialog.max_length of preset {preset.name}")

    from datasets import Dataset
    from trl import SFTTrainer

    settings = sft_settings(preset, len(rows))
    with atomic_dir(places.model(method)) as folder:
        trainer = SFTTrainer(
            model=new_adapter(model, preset.lora, preset.sft.seed),
            args=sft_config(settings, folder),
            train_dataset=Dataset.from_list(reached(rows, preset.sft, settings)),
            processing_class=tokenizer,
        )
        training = {
            "dialogs": len(dialogs),
            "pieces": len(rows),
            "arguments": settings,
            **run(trainer, method),
        }
        save_adapter(folder, trainer.model, tokenizer, preset, places.course, method, feedback, training)
    return trained(places.model(method), len(dialogs), training, started)

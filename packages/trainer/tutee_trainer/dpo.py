"""Direct preference optimization, offline, from the SFT adapter."""

import time

import polars as pl

from flows.places import Places
from tutee_grader.errors import InputError
from tutee_grader.files import atomic_dir
from tutee_serializer.dialogs.truncation import truncate
from tutee_trainer.adapters import Trained, load_adapter, save_adapter
from tutee_trainer.arguments import dpo_config, dpo_settings, reached
from tutee_trainer.conversations import counter
from tutee_trainer.model import load_base
from tutee_trainer.preset import Preset
from tutee_trainer.running import hush, run, trained


def train_dpo(preset: Preset, places: Places) -> Trained:
    """Trains models/COURSE/dpo from models/COURSE/sft and pairs.parquet (sigmoid loss).

    The frozen reference is a copy of the adapter that training starts from, so the first loss is ln 2.
    """
    started = time.perf_counter()
    if not places.pairs.exists():
        raise InputError(f"{places.pairs}: missing; run `tutee pairs` first")
    if not (places.model("sft") / "student.json").exists():
        raise InputError(f"{places.model('sft')}: missing; run `tutee train sft` first")
    pairs = pl.read_parquet(places.pairs)
    hush()
    model, tokenizer = load_base(preset, places.model("base"))
    count = counter(tokenizer)
    rows = []
    for pair in pairs.iter_rows(named=True):
        answer = max(count(pair["chosen"]), count(pair["rejected"]))
        prompt = truncate(pair["prompt"], preset.dialog.max_length - answer, count)
        if sum(count(message["content"]) for message in prompt) + answer > preset.dialog.max_length:
            continue
        said = {side: [{"role": "assistant", "content": pair[side]}] for side in ("chosen", "rejected")}
        rows.append({"prompt": prompt, **said})
    if not rows:
        raise InputError(f"{places.pairs}: no pair fits dialog.max_length of preset {preset.name}")
    settings = dpo_settings(preset, len(rows))

    from datasets import Dataset
    from trl import DPOTrainer

    with atomic_dir(places.model("dpo")) as folder:
        trainer = DPOTrainer(
            model=load_adapter(
                model, places.model("sft"), preset.dpo.rank, preset.dpo.alpha, preset.dpo.seed
            ),
            args=dpo_config(settings, folder),
            train_dataset=Dataset.from_list(reached(rows, preset.dpo, settings)),
            processing_class=tokenizer,
        )
        training = {"pairs": pairs.height, "arguments": settings, **run(trainer, "dpo")}
        save_adapter(
            folder, trainer.model, tokenizer, preset, places.course, "dpo", preset.dialog.feedback, training
        )
    return trained(places.model("dpo"), pairs.height, training, started)

"""Small random models of three families, as `pretrained`: each method in each format, in their own chat."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tutee_evaluator.engines import Request, complete
from tutee_evaluator.engines.transformers import Student
from tutee_grader.grader import Grader
from tutee_serializer.dialogs.dialog import Dialog, read_dialogs
from tutee_trainer.model import load_chat
from tutee_trainer.pairs import PairsConfig, write_pairs
from tutee_trainer.preset import Preset
from tutee_trainer.training import TrainingResult

# Family: its model, its configuration, the token that ends a turn.
FAMILIES: dict[str, tuple[Any, Any, str]] = {
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, "<|im_end|>"),
    "llama3": (LlamaForCausalLM, LlamaConfig, "<|eot_id|>"),
    "gemma": (GemmaForCausalLM, GemmaConfig, "<end_of_turn>"),
}


def save_model(family: str, tokenizer: Any, folder: Path) -> None:
    """Writes a random model of a family into `folder`, with its tokenizer, as the hub holds one."""
    model_class, config_class, _ = FAMILIES[family]
    torch.manual_seed(0)
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        tie_word_embeddings=True,
    )
    model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def preset_of(folder: Path, format: str) -> Preset:
    adapter = {"learning_rate": 1e-3, "steps": 1, "evaluations": 1}
    return Preset.parse(
        {
            "name": folder.name,
            "model": {"pretrained": str(folder), "quantization": "none"},
            "lora": {"rank": 2, "alpha": 4},
            "sft": {**adapter, "batch": 2, "micro_batch": 2},
            "dpo": {**adapter, "batch": 2, "micro_batch": 2},
            "kto": {**adapter, "batch": 4, "micro_batch": 4},
            "dapo": {
                "learning_rate": 1e-3, "steps": 1, "batch": 4, "micro_batch": 4, "samples": 2, "rounds": 1,
                "max_prompt": 800,
            },
            "dialog": {"format": format, "max_length": 1000, "max_new_tokens": 8},
        }
    )  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=("code", "dual", "edits"))
def trained(
    request: pytest.FixtureRequest,
    family: str,
    tmp_path_factory: pytest.TempPathFactory,
    train: Callable[..., TrainingResult],
    write_dialogs: Callable[..., None],
    write_assignments: Callable[[Path], Any],
    tokenizer_of: Callable[..., Any],
) -> tuple[Preset, Path, list[Dialog]]:
    """The preset, the folder with all its methods trained, and the validation dialogs."""
    folder = tmp_path_factory.mktemp(f"{family}-{request.param}")
    dialogs = folder / "dialogs.parquet"
    # The format of a pretrained model's edits depends on the model, so the preset comes first.
    model = folder / family
    write_dialogs(dialogs, format="code")
    texts = pl.read_parquet(dialogs)["messages"].explode().struct.field("content").to_list()
    save_model(family, tokenizer_of(family, texts), model)
    preset = preset_of(model, request.param)
    write_dialogs(dialogs, format=preset.format)
    for name in ("base", "sft", "para"):
        train(folder, name, preset=preset)
    write_pairs(PairsConfig(), preset, dialogs, folder / "pairs.parquet")
    for name in ("dpo", "kto"):
        train(folder, name, preset=preset)
    train(folder, "dapo", preset=preset, assignments=write_assignments(folder / "assignments"))
    return preset, folder, read_dialogs(dialogs, preset.format, "summary", "validation")


def test_generation_stops_at_the_token_that_training_ends_a_turn_with(
    trained: tuple[Preset, Path, list[Dialog]], family: str
) -> None:
    preset, folder, dialogs = trained
    chat = load_chat(preset, folder / "base")
    for method in ("base", "sft", "para", "dpo", "kto", "dapo"):
        student = Student.load(folder / method, device="cpu")
        assert student.chat.tokenizer.decode([student.chat.end]) == FAMILIES[family][2]
        assert student.chat.tokenizer.eos_token_id == student.chat.end
    ids, mask = chat.encode(dialogs[0].messages)
    last = [token for token, is_student in zip(ids, mask, strict=True) if is_student][-1]
    assert last == chat.end


def test_every_student_writes_after_the_tokens_it_was_trained_after(
    trained: tuple[Preset, Path, list[Dialog]],
) -> None:
    _, folder, dialogs = trained
    student = Student.load(folder / "sft", device="cpu")
    for dialog in dialogs:
        ids, mask = student.chat.encode(dialog.messages)
        starts = [at for at in range(1, len(mask)) if mask[at] and not mask[at - 1]]
        for turn, start in enumerate(starts, 1):
            assert student.prompt(dialog.before(turn)) == ids[:start]


def test_every_student_is_rolled_out_and_graded(
    trained: tuple[Preset, Path, list[Dialog]], write_assignments: Callable[[Path], Any], tmp_path: Path
) -> None:
    _, folder, dialogs = trained
    begun = [dialog.before(2) for dialog in dialogs]
    for method in ("base", "sft", "para", "dpo", "kto", "dapo"):
        written = complete(Student.load(folder / method, device="cpu"), map(Request, begun))
        assert len(written) == len(begun)
        # A random model writes no program; that is data with a reason.
        assert all(completion.program is not None or completion.reason for completion in written)
    assignment = write_assignments(tmp_path)["double"]
    with Grader(workers=1) as grader:
        assert grader.grade([(assignment, begun[0].previous or "")])[0].grade == 0

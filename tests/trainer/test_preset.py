"""What a preset may hold, and the errors where it does not."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tutee_grader.errors import UnavailableError
from tutee_trainer.preset import Preset, PresetError
from tutee_trainer.training import AdapterMethodConfig, resolve

QWEN = ("qwen3-4b", "qwen3-8b")


def written(folder: Path, values: Any) -> Path:
    path = folder / "edited.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return path


@pytest.fixture
def tiny(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "presets" / "tiny.yaml").read_text())


@pytest.mark.parametrize("name", ["tiny", *QWEN])
def test_each_preset_of_the_repository_loads(repository: Path, name: str) -> None:
    assert Preset.load(repository / f"presets/{name}.yaml").name == name


def test_a_preset_that_is_not_there_names_those_that_are(repository: Path) -> None:
    with pytest.raises(PresetError) as raised:
        Preset.load(repository / "presets/huge.yaml")
    assert raised.value.exit_code == 2
    for name in ("huge", "tiny", *QWEN):
        assert name in str(raised.value)


def test_all_problems_are_reported_at_once(tmp_path: Path, tiny: dict[str, Any]) -> None:
    wrong = copy.deepcopy(tiny)
    wrong["sft"]["learning_rate"] = "fast"
    wrong["lora"]["ranks"] = 8
    wrong["model"]["layers"] = 0
    del wrong["dialog"]["format"]
    path = written(tmp_path, wrong)
    with pytest.raises(PresetError) as raised:
        Preset.load(path)
    lines = str(raised.value).splitlines()
    assert len(lines) == 4
    for field, value in (
        ("sft.learning_rate", "'fast'"), ("lora.ranks", "unknown key"), ("model.layers", "0"),
        ("dialog.format", "missing"),
    ):  # fmt: skip
        assert any(line.startswith(f"{path}: `{field}`: ") and value in line for line in lines), field


@pytest.mark.parametrize(
    ("section", "key", "value", "problem"),
    [
        ("sft", "micro_batch", 5, "multiple of micro_batch"),
        ("dapo", "samples", 3, "multiple of samples"),
        ("dapo", "max_prompt", 100_000, "max_prompt"),
        ("kto", "micro_batch", 1, "greater than or equal to 2"),
        ("model", "kv_heads", 4, "multiple of kv_heads"),
        ("dapo", "reward", {"kind": "praise"}, r"dapo\.reward\.kind"),
        ("dapo", "reward", {"overlong_share": 0}, r"dapo\.reward\.overlong_share"),
        ("dialog", "max_new_tokens", 4096, "no tokens"),
    ],
)
def test_numbers_that_do_not_fit_each_other(
    tmp_path: Path, tiny: dict[str, Any], section: str, key: str, value: Any, problem: str
) -> None:
    tiny[section][key] = value
    with pytest.raises(PresetError, match=problem):
        Preset.load(written(tmp_path, tiny))


def test_a_reward_by_scores_needs_three_samples(tmp_path: Path, tiny: dict[str, Any]) -> None:
    tiny["dapo"] |= {"samples": 2, "reward": {"kind": "scores"}}
    with pytest.raises(PresetError, match=r"reward\.kind scores needs 3 samples or more, not 2"):
        Preset.load(written(tmp_path, tiny))


def test_a_section_that_no_method_owns_is_an_error_that_names_it(
    tmp_path: Path, tiny: dict[str, Any]
) -> None:
    tiny["ppo"] = {"learning_rate": 1e-5}
    with pytest.raises(PresetError, match="`ppo`: unknown key"):
        Preset.load(written(tmp_path, tiny))


@pytest.mark.parametrize("section", ["sft", "dpo", "dapo"])
def test_a_section_that_is_not_optional_must_be_there(
    tmp_path: Path, tiny: dict[str, Any], section: str
) -> None:
    del tiny[section]
    with pytest.raises(PresetError, match=f"`{section}`: missing"):
        Preset.load(written(tmp_path, tiny))


def test_an_optional_section_may_be_left_out(tmp_path: Path, tiny: dict[str, Any]) -> None:
    assert "kto" in Preset.load(written(tmp_path, tiny)).methods
    del tiny["kto"]
    preset = Preset.load(written(tmp_path, tiny))
    assert "kto" not in preset.methods
    assert set(resolve(preset)) == {"sft", "traces", "dpo", "dapo"}


@pytest.mark.parametrize("text", ["- 1\n", "model: [\n", "name: x\n", ""])
def test_a_file_that_is_no_preset(tmp_path: Path, text: str) -> None:
    with pytest.raises(PresetError, match=r"edited\.yaml"):
        Preset.load(written(tmp_path, text))


def test_random_weights_need_a_tokenizer(tmp_path: Path, tiny: dict[str, Any]) -> None:
    del tiny["tokenizer"]
    with pytest.raises(PresetError, match="tokenizer"):
        Preset.load(written(tmp_path, tiny))


def test_a_pretrained_model_brings_its_own(repository: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    mixed = yaml.safe_load((repository / "presets" / "qwen3-4b.yaml").read_text())
    mixed["base"] = tiny["base"]
    with pytest.raises(PresetError, match="base"):
        Preset.load(written(tmp_path, mixed))


@pytest.mark.parametrize("format", ["code", "dual", "edits"])
def test_a_pretrained_models_edits_are_plain_text(
    repository: Path, tmp_path: Path, tiny: dict[str, Any], format: str
) -> None:
    large = yaml.safe_load((repository / "presets/qwen3-4b.yaml").read_text())
    for values in (large, tiny):
        values["dialog"]["format"] = format

    assert Preset.load(written(tmp_path, tiny)).format == format
    assert Preset.load(written(tmp_path, large)).format == ("plain_edits" if format == "edits" else format)


@pytest.mark.parametrize("name", QWEN)
def test_the_large_presets_resolve_to_the_published_values(repository: Path, name: str) -> None:
    """Koutcheme et al., arXiv 2604.10720; on this machine, without weights or a GPU."""
    preset = Preset.load(repository / f"presets/{name}.yaml")
    resolved = resolve(preset)
    sft, dpo, dapo = resolved["sft"], resolved["dpo"], resolved["dapo"]
    assert (preset.lora.rank, preset.lora.alpha, preset.lora.dropout) == (8, 16, 0.1)
    assert set(preset.lora.targets) == {f"{part}_proj" for part in ("q", "k", "v", "o", "gate", "up", "down")}
    assert sft["learning_rate"] == 1e-4
    assert (sft["lr_scheduler_type"], sft["warmup_steps"]) == ("cosine", 0.1)
    assert batches(sft) == (1, 16)
    assert (sft["max_length"], preset.methods["sft"].epochs) == (4096, 1)
    assert (dpo["beta"], dpo["loss_type"], dpo["learning_rate"]) == (0.5, ["sigmoid"], 1e-5)
    assert (preset.methods["dpo"].rank, preset.methods["dpo"].alpha, preset.methods["dpo"].epochs) == (
        16,
        32,
        1,
    )
    assert batches(dpo) == (1, 8)
    assert (dapo["num_generations"], dapo["temperature"], dapo["learning_rate"]) == (4, 1.0, 1e-5)
    assert (dapo["lr_scheduler_type"], dapo["warmup_steps"]) == ("constant_with_warmup", 0.1)
    assert batches(dapo) == (8, 1)
    assert (dapo["epsilon"], dapo["epsilon_high"], dapo["beta"]) == (0.2, 0.28, 0)
    assert (dapo["loss_type"], dapo["scale_rewards"]) == ("dapo", "none")
    assert dapo["mask_truncated_completions"] is True
    assert (preset.methods["dapo"].max_prompt, dapo["max_completion_length"]) == (3072, 1024)


def batches(settings: dict[str, Any]) -> tuple[int, int]:
    """Examples at once, and how many such batches make a step."""
    return settings["per_device_train_batch_size"], settings["gradient_accumulation_steps"]


@pytest.mark.parametrize("name", QWEN)
def test_the_large_presets_say_what_the_published_configuration_files_say(
    repository: Path, name: str
) -> None:
    """Koutcheme et al., arXiv 2604.10720: the keys that no argument of TRL shows."""
    preset = Preset.load(repository / f"presets/{name}.yaml")
    sft, dpo, dapo = (preset.methods[method] for method in ("sft", "dpo", "dapo"))
    assert (sft.packing, sft.weight_decay, sft.evaluations) == (True, 0.1, 4)
    assert {section.seed for section in (sft, dpo, dapo)} == {42}
    assert (dpo.dropout, dpo.optimizer) == (0.0, "adamw_8bit")
    assert (dapo.optimizer, dapo.beta2, dapo.max_grad_norm) == ("adamw_8bit", 0.99, 0.3)
    assert (dapo.prompts_per_trajectory, dapo.max_prompts, dapo.rounds) == (1, 5000, 1)
    assert (dapo.reward.kind, dapo.reward.overlong_share) == ("published", 0.1)
    assert (preset.dialog.format, preset.dialog.feedback) == ("code", "summary")
    assert preset.dialog.first_is_target is False
    assert len(preset.model.revision) == 40


@pytest.mark.parametrize("name", QWEN)
def test_the_large_presets_name_optimizers_that_hugging_face_has(repository: Path, name: str) -> None:
    from transformers.training_args import OptimizerNames

    preset = Preset.load(repository / f"presets/{name}.yaml")
    trained = [one for one in preset.methods.values() if isinstance(one, AdapterMethodConfig)]
    names = {section.optimizer for section in trained}
    assert len(trained) > 2
    assert names <= {optimizer.value for optimizer in OptimizerNames}


def test_the_two_large_presets_differ_in_nothing_but_the_model(repository: Path) -> None:
    one, other = (Preset.load(repository / f"presets/{name}.yaml").model_dump() for name in QWEN)
    assert {key for key in one if one[key] != other[key]} == {"name", "model"}


def test_a_first_submission_is_a_target_unless_a_preset_says_otherwise(
    tmp_path: Path, tiny: dict[str, Any]
) -> None:
    assert Preset.load(written(tmp_path, tiny)).dialog.first_is_target


def test_a_step_cap_is_below_what_the_epochs_ask_for(preset: Preset) -> None:
    from tutee_trainer.methods.sft import arguments

    assert arguments(preset, 1000)["max_steps"] == preset.methods["sft"].steps
    assert arguments(preset, 4)["max_steps"] == 1


def test_four_bits_are_refused_without_cuda(repository: Path) -> None:
    import torch

    from tutee_trainer.pretrained import check

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA, where four bits are right")
    with pytest.raises(UnavailableError, match="nf4") as raised:
        check(Preset.load(repository / "presets/qwen3-4b.yaml"))
    assert raised.value.exit_code == 3

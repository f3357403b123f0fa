"""`tutee learner`: a whole training and its measures on a small random model, and what stops it."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from flows.cli import app
from flows.mlflow_client import connect
from flows.parameters import load, load_learner
from flows.places import Places
from tutee_grader.errors import InputError
from tutee_serializer.schemas import SUBMISSIONS

TOPICS = [
    {"name": name, "split": split, "opening": f"A {name} is a thing.", "terms": [name]}
    for name, split in (("list", "train"), ("loop", "train"), ("file", "test"), ("class", "test"))
]


@pytest.fixture
def learner(project, tokenizer_of: Callable[..., Any]):
    """The project with topics, a small random model, and a preset `small` that trains it for a step."""
    tokenizer = tokenizer_of("llama3", ["What is a list? A list is a thing."])
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(project.folder / "model")
    tokenizer.save_pretrained(project.folder / "model")
    course = project.folder / "courses/small"
    (course / "topics.yaml").write_text(yaml.safe_dump(TOPICS))
    project.edit("courses/small/course.yaml", "name: small\n", "name: small\ntopics: topics.yaml\n")
    preset = {
        "model": {"pretrained": "model", "quantization": "none"},
        "lora": {"rank": 2, "alpha": 4},
        "sft": {"learning_rate": 1e-3, "steps": 1, "batch": 1, "evaluations": 0},
        "learner": {
            "learning_rate": 1e-3, "steps": 1, "batch": 4, "micro_batch": 4, "samples": 2, "start": "sft",
        },
        "dialog": {"kind": "learner", "max_length": 400, "max_new_tokens": 8},
    }  # fmt: skip
    (project.folder / "presets/small.yaml").write_text(yaml.safe_dump(preset))
    return project


def write_submissions(folder: Path, author: str) -> None:
    """Two students' submissions; one of them has a message by `author`."""
    said = [{"author": "tutor", "sent_at": None, "text": "Look at n."}]
    said.append({"author": author, "sent_at": None, "text": "What is n?"})
    rows = [
        {
            "submission_id": f"{student}", "course": "small", "semester": "one", "student": student,
            "assignment": "double", "order": 1, "submitted_at": None, "code": "print(1)",
            "logged_score": None, "logged_correct": None, "messages": messages, "source_row": 1,
        }
        for student, messages in (("a", said), ("b", []))
    ]  # fmt: skip
    places = Places("small", root=folder)
    places.data.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, schema=SUBMISSIONS).write_parquet(places.submissions)


def tutee(folder: Path, *arguments: str) -> None:
    with contextlib.chdir(folder):
        app([*arguments], standalone_mode=False)


def test_base_sft_and_learner_are_trained_tracked_and_measured(
    learner, capsys: pytest.CaptureFixture[str]
) -> None:
    write_submissions(learner.folder, "student")
    tutee(learner.folder, "learner", "train", "small", "--preset", "small")
    assert "conversations: 1 -> " in capsys.readouterr().out
    tutee(learner.folder, "learner", "evaluate", "small", "--preset", "small", "--samples", "1")
    printed = capsys.readouterr().out
    assert "learner - base" in printed and "share that asks" in printed

    places = Places("small", "small", learner.folder)
    report = json.loads(places.learner_report.read_text())
    assert {one["model"] for one in report["measures"]} >= {"base", "sft", "learner", "learner - base"}
    assert [one["topic"] for one in report["conversations"]["learner"]] == ["file", "class"]

    client = connect(places)
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    by_method = {run.data.tags["method"]: run for run in runs if "method" in run.data.tags}
    assert set(by_method) == {"base", "sft", "learner"}
    mine = by_method["learner"]
    assert mine.info.status == "FINISHED"
    assert "rewards/asks/mean" in mine.data.metrics
    assert mine.data.params["learner.samples"] == "2"
    assert any(tag.startswith("input.") and "topics.yaml" in tag for tag in mine.data.tags)


def test_a_log_without_conversations_stops_before_any_training(learner) -> None:
    write_submissions(learner.folder, "tutor")
    with pytest.raises(InputError, match="no message of the log is by a student"):
        tutee(learner.folder, "learner", "train", "small", "--preset", "small")
    assert not Places("small", "small", learner.folder).models.exists()


def test_a_learner_that_is_not_trained_cannot_be_measured(learner) -> None:
    with pytest.raises(InputError, match="run `tutee learner train small --preset small` first"):
        tutee(learner.folder, "learner", "evaluate", "small", "--preset", "small")


def test_a_course_without_topics_says_where_they_belong(learner) -> None:
    learner.edit("courses/small/course.yaml", "topics: topics.yaml\n", "")
    with pytest.raises(InputError, match="`topics`: missing"):
        tutee(learner.folder, "learner", "train", "small", "--preset", "small")
    learner.edit("courses/small/course.yaml", "name: small\n", "name: small\ntopics: none.yaml\n")
    with pytest.raises(InputError, match=r"none\.yaml is not a file"):
        tutee(learner.folder, "learner", "train", "small", "--preset", "small")


def test_each_kind_of_preset_names_the_command_for_it(learner) -> None:
    with contextlib.chdir(learner.folder):
        with pytest.raises(InputError, match="use `tutee learner train`") as raised:
            load("small", preset="small")
        assert len(str(raised.value).splitlines()) == 1
        with pytest.raises(InputError, match="needs a preset of that kind"):
            load_learner("small", "tiny")
        learner.edit("params.yaml", "methods: [base, para", "methods: [base, learner, para")
        with pytest.raises(InputError, match="learner makes a learner to teach"):
            load("small")


def test_the_demos_learner_is_ready_to_train(project) -> None:
    """Course, topics and preset of the repository fit each other."""
    repository = Path(__file__).parents[2]
    shutil.copytree(repository / "courses/demo", project.folder / "courses/demo")
    project.edit("params.yaml", "courses:\n", "courses:\n  demo: courses/demo/course.yaml\n")
    with contextlib.chdir(project.folder):
        setup = load_learner("demo", "learner-smollm2")
        assert setup.course.topics_file.name == "topics.yaml"
        assert setup.preset.methods["learner"].start == "base"

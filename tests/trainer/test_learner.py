"""A learner's training on a small random model: what its steps are rewarded for, and what stops it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard
from tutee_serializer.schemas import DIALOGS
from tutee_trainer.learner.conversation import Conversation, Turn
from tutee_trainer.learner.evaluation import evaluate, measure, table
from tutee_trainer.learner.topics import Topic, read_topics
from tutee_trainer.preset import Preset, PresetError
from tutee_trainer.training import TrainingResult, resolve

from ..fake_endpoint import FakeEndpoint, answer

LENGTHS = {"max_length": 400, "max_new_tokens": 12}
SAID = "What is a list? I do not know what an element is. Can you show me an example of a loop?"
TOPICS = [
    {
        "name": name,
        "split": split,
        "opening": f"A {name} is a thing.",
        "follow_ups": ["It is of use."],
        "terms": [name],
    }
    for name, split in (("list", "train"), ("loop", "train"), ("file", "test"), ("class", "test"))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer_of: Callable[..., Any]) -> Path:
    """A small random Llama as a pretrained model, and topics beside it."""
    folder = tmp_path_factory.mktemp("learner")
    tokenizer = tokenizer_of("llama3", [SAID, *(topic["opening"] for topic in TOPICS)])
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "topics.yaml").write_text(yaml.safe_dump(TOPICS))
    return folder


@pytest.fixture(scope="module")
def values(folder: Path) -> dict[str, Any]:
    """The sections of a learner's preset."""
    return {
        "name": "small",
        "model": {"pretrained": str(folder / "model"), "quantization": "none"},
        "lora": {"rank": 4, "alpha": 8},
        "learner": {
            "learning_rate": 1e-2, "steps": 2, "epochs": 9, "batch": 4, "micro_batch": 4, "samples": 2,
        },
        "dialog": {"kind": "learner", **LENGTHS},
    }  # fmt: skip


@pytest.fixture(scope="module")
def trained(folder: Path, values: dict[str, Any], train: Callable[..., TrainingResult]) -> TrainingResult:
    learner = Preset.parse(values)
    train(folder, "base", preset=learner)
    return train(folder, "learner", preset=learner, data=folder / "topics.yaml")


def history(result: TrainingResult) -> list[dict[str, float]]:
    return json.loads((result.folder / "training.json").read_text())["history"]


def with_learner(values: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**values, "learner": {**values["learner"], **changes}}


# --- training -----------------------------------------------------------------------------------------


def test_every_part_that_counts_is_tracked_and_their_weighted_sum_is_the_reward(
    trained: TrainingResult, values: dict[str, Any]
) -> None:
    weights = Preset.parse(values).methods["learner"].weights.used
    assert set(weights) == {"asks", "novice", "on_subject", "varied", "finishes"}
    for step in history(trained):
        parts = {name: step[f"rewards/{name}/mean"] for name in weights}
        assert step["reward"] == pytest.approx(sum(weights[name] * parts[name] for name in parts), abs=1e-4)
        assert "rewards/reasons/mean" not in step


def test_it_moves_the_adapter_and_says_what_it_is(trained: TrainingResult) -> None:
    weights = load_file(trained.folder / "adapter_model.safetensors")
    assert any(float(tensor.abs().max()) > 0 for name, tensor in weights.items() if "lora_B" in name)
    card = StudentCard.load(trained.folder)
    assert (card.method, card.format, card.feedback) == ("learner", "words", "none")
    assert trained.examples == 2  # the topics of split train alone


def test_a_cut_off_turn_is_learnt_from(trained: TrainingResult) -> None:
    """A random model hardly ever ends a turn: were such turns masked, nothing would be learnt."""
    first = history(trained)[0]
    assert first["rewards/finishes/mean"] < 0
    assert first["grad_norm"] > 0


def test_equal_trainings_write_equal_weights(
    trained: TrainingResult, folder: Path, values: dict[str, Any], train: Callable[..., TrainingResult]
) -> None:
    again = train(
        folder, "learner", preset=Preset.parse(values), data=folder / "topics.yaml", output=folder / "again"
    )
    first, second = (load_file(one.folder / "adapter_model.safetensors") for one in (trained, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint().running() as endpoint:
        yield endpoint


def test_reasoning_between_tags_scored_by_a_judge_trains_by_the_same_machinery(
    trained: TrainingResult,
    folder: Path,
    values: dict[str, Any],
    train: Callable[..., TrainingResult],
    endpoint: FakeEndpoint,
    tmp_path: Path,
) -> None:
    (tmp_path / "rubric.md").write_text("Ten is good reasoning.")
    endpoint.always = lambda handler: answer(f"Score: {len(handler.body['messages'][-1]['content']) % 11}")(
        handler
    )
    only = {name: 0 for name in ("asks", "novice", "on_subject", "varied", "finishes")}
    reasoner = with_learner(
        values,
        weights={**only, "reasons": 1, "judge": 2},
        judge={
            "endpoint": {"url": endpoint.url, "model": "judge"},
            "rubric": str(tmp_path / "rubric.md"),
            "budget": 6,
        },
    )
    result = train(
        folder,
        "learner",
        preset=Preset.parse(reasoner),
        data=folder / "topics.yaml",
        judgements=tmp_path / "judgements.sqlite",
        output=tmp_path / "reasoner",
    )
    first, _ = history(result)
    assert first["reward"] == pytest.approx(
        first["rewards/reasons/mean"] + 2 * first["rewards/judge/mean"], abs=1e-4
    )
    assert 0 < first["rewards/judge/mean"] < 1
    assert len(endpoint.requests) == 6  # of eight turns: the budget holds
    assert "6 asked" in result.note and "2 over budget" in result.note


def test_it_goes_on_from_what_sft_made_of_conversations(
    trained: TrainingResult,
    folder: Path,
    values: dict[str, Any],
    train: Callable[..., TrainingResult],
    tmp_path: Path,
) -> None:
    messages = [{"role": "system", "content": "You learn."}]
    for teacher, student in (("A list is a thing.", "What is a list?"), ("It is of use.", "An example?")):
        messages += [{"role": "user", "content": teacher}, {"role": "assistant", "content": student}]
    row = {
        "dialog_id": "a", "course": "c", "semester": "s", "student": "x", "assignment": "y",
        "scope": "assignment", "format": "words", "feedback": "none", "split": "train", "messages": messages,
        "turns": [{"submission_id": "1", "grade": None}, {"submission_id": "2", "grade": None}],
    }  # fmt: skip
    dialogs = tmp_path / "dialogs.parquet"
    pl.DataFrame([row, {**row, "dialog_id": "b", "split": "validation"}], schema=DIALOGS).write_parquet(
        dialogs
    )
    both = with_learner(values, start="sft")
    both["sft"] = {"learning_rate": 1e-2, "steps": 2, "batch": 1, "evaluations": 1}
    preset = Preset.parse(both)
    sft = train(folder, "sft", preset=preset, data=dialogs, dialogs=dialogs, output=tmp_path / "sft")
    assert StudentCard.load(sft.folder).format == "words"
    none = Preset.parse(with_learner(both, steps=1, learning_rate=1e-12))
    result = train(
        folder,
        "learner",
        preset=none,
        data=folder / "topics.yaml",
        warm_start=sft.folder,
        output=tmp_path / "l",
    )
    before, after = (load_file(one.folder / "adapter_model.safetensors") for one in (sft, result))
    assert all(torch.allclose(before[name], after[name], atol=1e-9) for name in before)
    with pytest.raises(InputError, match="run `tutee train sft`"):
        train(folder, "learner", preset=preset, data=folder / "topics.yaml", warm_start=tmp_path / "none")


# --- conversations and measures -----------------------------------------------------------------------


def test_earlier_thoughts_are_not_heard() -> None:
    topic = Topic.model_validate(TOPICS[0])
    conversation = Conversation(
        topic, "You learn.", "think", [Turn("<think>hm</think> What is it?", 9, True)]
    )
    assert [message["content"] for message in conversation.messages[1:]] == [
        "A list is a thing.",
        "What is it?",
        "It is of use.",
    ]


def conversations(*asked: str) -> list[Conversation]:
    """One conversation on each test topic; the student's turns are `asked`."""
    topics = [Topic.model_validate(one) for one in TOPICS[2:]]
    return [Conversation(topic, "", "think", [Turn(text, 3, True) for text in asked]) for topic in topics]


def test_the_share_that_asks_is_of_turns_and_differences_are_paired() -> None:
    topics = [Topic.model_validate(one) for one in TOPICS[2:]]
    before = conversations("It is so.", "It is not so.")
    after = conversations("What is it then?", "It is so.")
    found = {
        (one.model, one.measure): one for one in measure({"base": before, "learner": after}, topics, 1, 0)
    }
    share = [found[name, "share that asks"].value for name in ("base", "learner", "learner - base")]
    assert share == [0, 0.5, 0.5]
    difference = found["learner - base", "share that asks"]
    assert (difference.low, difference.high, difference.topics, difference.turns) == (0.5, 0.5, 2, 4)
    assert found["base", "distinct"].value == 0.5  # both topics are answered alike
    assert found["base", "tokens"].value == 3
    lines = table(list(found.values())).splitlines()
    assert lines[1].split() == [
        *("share", "that", "asks", "0.00", "[0.00,", "0.00]", "0.50", "[0.50,", "0.50]", "+0.50"),
        *("[+0.50,", "+0.50]"),
    ]


def test_an_interval_is_over_topics_not_over_turns() -> None:
    """Where topics differ and the turns on each agree, more turns make no interval narrower."""
    topics = [Topic.model_validate(one) for one in TOPICS[2:]]
    ask, state = conversations("What is it then?")[0], conversations("It is so.")[1]
    widths = []
    for samples in (1, 20):
        played = [one for one in (ask, state) for _ in range(samples)]
        found = measure({"base": played}, topics, samples, 0)
        (share,) = (one for one in found if one.measure == "share that asks")
        widths.append((share.low, share.high))
    assert widths[0] == widths[1] == (0, 1)


def test_models_are_measured_on_the_same_held_out_topics(
    trained: TrainingResult, folder: Path, values: dict[str, Any]
) -> None:
    preset, topics = Preset.parse(values), read_topics(folder / "topics.yaml", "test")
    models = {"base": folder / "base", "learner": trained.folder}
    found = evaluate(models, preset, folder / "base", topics, 2, 0)
    for played in found.conversations.values():
        assert [one.topic.name for one in played] == ["file", "file", "class", "class"]
        assert {len(one.turns) for one in played} == {2}  # the opening and the follow-up
    text = {
        name: [turn.text for one in played for turn in one.turns]
        for name, played in found.conversations.items()
    }
    assert text["base"] != text["learner"]
    assert {one.model for one in found.measures} == {"base", "learner", "learner - base"}
    json.dumps(found.as_json())
    with pytest.raises(InputError, match="1 topic of split test"):
        evaluate(models, preset, folder / "base", topics[:1], 2, 0)


# --- wrong input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"weights": {"judge": 1}}, "there is no `judge`"),
        ({"weights": dict.fromkeys(("asks", "novice", "on_subject", "varied", "finishes"), 0)}, "all are 0"),
        ({"weights": {"kindness": 1}}, r"weights\.kindness`: unknown key"),
        ({"samples": 3}, "multiple of samples"),
        ({"evaluations": 2}, r"learner\.evaluations"),
        ({"judge": {"endpoint": {"url": "x", "model": "m"}, "rubric": "r", "budget": 0}}, r"judge\.budget"),
    ],
)
def test_a_section_that_contradicts_itself(
    values: dict[str, Any], tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    file = tmp_path / "wrong.yaml"
    sections = with_learner(values, **changes)
    del sections["name"]
    file.write_text(yaml.safe_dump(sections))
    with pytest.raises(PresetError, match=problem):
        Preset.load(file)


@pytest.mark.parametrize(
    ("section", "value", "problem"),
    [
        ("dialog", {"kind": "learner", "format": "code", **LENGTHS}, "has no use with"),
        ("dialog", {"kind": "teacher", **LENGTHS}, r"dialog\.kind"),
        ("dapo", {}, "`dapo`: unknown key"),
        ("model", dict.fromkeys(("hidden_size", "layers", "heads", "kv_heads", "head_size", "mlp_size"), 2),
         "a learner needs a pretrained model"),
    ],
)  # fmt: skip
def test_a_learners_preset_is_about_words(
    values: dict[str, Any], tmp_path: Path, section: str, value: Any, problem: str
) -> None:
    file = tmp_path / "wrong.yaml"
    sections = {**values, section: value}
    del sections["name"]
    file.write_text(yaml.safe_dump(sections))
    with pytest.raises(PresetError, match=problem):
        Preset.load(file)


def test_a_preset_of_programs_has_no_learner(preset: Preset, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    sections = preset.model_dump(mode="json", exclude_none=True, exclude={"name"})
    file.write_text(yaml.safe_dump({**sections, "learner": {"learning_rate": 1e-4}}))
    with pytest.raises(PresetError, match="`learner`: unknown key"):
        Preset.load(file)


@pytest.mark.parametrize("name", ["learner-smollm2", "reasoner-smollm2"])
def test_the_presets_of_the_repository_load(repository: Path, name: str) -> None:
    preset = Preset.load(repository / f"presets/{name}.yaml")
    assert (preset.format, preset.feedback, list(preset.methods)) == ("words", "none", ["learner"])
    judge = preset.methods["learner"].judge
    assert judge is None or (repository / judge.rubric).is_file()


def test_trl_accepts_its_arguments(values: dict[str, Any]) -> None:
    assert set(resolve(Preset.parse(values))) == {"learner"}


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        ({"opening": " "}, ["`0.opening`"]),
        ({"opening": "x" * 2001, "terms": []}, ["`0.opening`", "`0.terms`"]),
        ({"terms": ["two words"]}, ["'two words'"]),
        ({"name": "loop"}, ["loop: there twice"]),
        ({"split": "train", "term": ["x"]}, ["`0.term`: unknown key"]),
    ],
)
def test_what_is_wrong_with_topics_is_said_at_once(
    tmp_path: Path, change: dict[str, Any], problems: list[str]
) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text(yaml.safe_dump([{**TOPICS[0], **change}, *TOPICS[1:]]))
    with pytest.raises(InputError) as raised:
        read_topics(file, "train")
    assert str(file) in str(raised.value)
    assert all(problem in str(raised.value) for problem in problems)


def test_a_split_without_topics_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "topics.yaml"
    file.write_text(yaml.safe_dump(TOPICS[:2]))
    with pytest.raises(InputError, match="no topic has `split: test`"):
        read_topics(file, "test")


def test_a_conversation_that_may_not_fit_is_named_before_training(
    trained: TrainingResult,
    folder: Path,
    values: dict[str, Any],
    train: Callable[..., TrainingResult],
    tmp_path: Path,
) -> None:
    long = {**TOPICS[0], "follow_ups": ["A list holds a thing. " * 60]}
    (tmp_path / "topics.yaml").write_text(yaml.safe_dump([long, *TOPICS[1:]]))
    with pytest.raises(InputError, match=r"dialog\.max_length is 400, and topic 'list' may take"):
        train(folder, "learner", preset=Preset.parse(values), data=tmp_path / "topics.yaml")


def test_a_step_depends_on_its_number_alone(
    trained: TrainingResult, folder: Path, values: dict[str, Any]
) -> None:
    """So a run that goes on after a kill draws what it would have drawn."""
    from types import SimpleNamespace

    from tutee_trainer.methods.learner import _Sampler
    from tutee_trainer.model import load_chat, load_model

    preset, base = Preset.parse(values), folder / "base"
    config, topics = preset.methods["learner"], read_topics(folder / "topics.yaml", "train")
    model = load_model(preset, base)
    accelerator = SimpleNamespace(process_index=0, num_processes=1, unwrap_model=lambda model: model)

    def drawn(*steps: int) -> list[Any]:
        sampler = _Sampler(topics, load_chat(preset, base), preset, config, None)
        trainer = SimpleNamespace(
            model=model, accelerator=accelerator, args=SimpleNamespace(per_device_train_batch_size=4)
        )
        return [
            sampler([None] * 2, SimpleNamespace(**vars(trainer), state=SimpleNamespace(global_step=step)))[
                "completion_ids"
            ]
            for step in steps
        ]

    through, resumed = drawn(0, 1, 2), drawn(2)
    assert resumed[0] == through[2] != through[1]


def test_another_kind_of_job_names_what_it_lacks(
    trained: TrainingResult, folder: Path, values: dict[str, Any], train: Callable[..., TrainingResult]
) -> None:
    preset = Preset.parse(with_learner(values, start="sft"))
    with pytest.raises(InputError, match="names no adapter"):
        train(folder, "learner", preset=preset, data=folder / "topics.yaml")

import contextlib
from pathlib import Path

import pytest

from flows.places import Places
from flows.registry import CHALLENGER, CHAMPION, TEST_STUDENTS, TRAIN_STUDENTS, Registry, Version
from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard

ADAPTERS = ("sft", "para", "dpo", "dapo")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """A course with models, in a folder whose MLflow database is made once: that takes seconds."""
    places = Places("small", "tiny", tmp_path_factory.mktemp("registry"))
    for method in ("base", *ADAPTERS):
        places.model(method).mkdir(parents=True)
        StudentCard(method, "small", "../base", "edits", "summary", 64, 16, "tiny").save(places.model(method))
        (places.model(method) / "weights").write_text(f"{method} weights")
    (places.root / "metrics").write_text("figures")
    Registry(places)
    return places


@pytest.fixture
def registry(places: Places, request: pytest.FixtureRequest) -> Registry:
    """A registry with a model of its own for the test."""
    registry = Registry(places)
    registry.model = f"tutee-{request.node.name}"
    return registry


def register(registry: Registry, fingerprint: str) -> dict[str, Version]:
    return registry.register(
        fingerprint,
        ADAPTERS,
        params={"preset.lora.rank": 16},
        metrics={"sft.codebleu": 0.5, "dpo.codebleu": 0.6},
        hashes={"models/small/tiny/sft": "abc.dir"},
        files=[registry.places.root / "metrics"],
        cards={method: f"# {method}" for method in ADAPTERS},
        students={TRAIN_STUDENTS: ["ann", "ben"], TEST_STUDENTS: ["cem"]},
        synthetic=True,
    )


def test_every_adapter_becomes_a_version(registry: Registry) -> None:
    versions = register(registry, "one")
    assert set(versions) == set(ADAPTERS)
    assert registry.find("one", ADAPTERS) == versions


def test_a_version_holds_the_adapter_beside_its_base(registry: Registry) -> None:
    folder = registry.folder(register(registry, "one")["dpo"])
    assert (folder / "weights").read_text() == "dpo weights"
    base = StudentCard.load(folder).base_of(folder)
    assert (Path(base) / "weights").read_text() == "base weights"
    assert (folder.parent / "metrics").read_text() == "figures"


def test_a_version_knows_its_figures_and_where_it_came_from(registry: Registry) -> None:
    version = register(registry, "one")["dpo"]
    assert registry.metrics(version) == {"codebleu": 0.6}
    run = registry.client.get_run(version.run_id).data
    assert run.params["preset.lora.rank"] == "16"
    assert run.tags["dvc.models/small/tiny/sft"] == "abc.dir"
    assert version.tags["synthetic"] == "true"


def test_a_registration_that_was_cut_short_is_passed_over(registry: Registry) -> None:
    whole = register(registry, "one")
    registry.client.delete_model_version(registry.model, str(whole["dapo"].number))
    assert registry.find("one", ADAPTERS) == {}
    again = register(registry, "one")
    assert registry.find("one", ADAPTERS) == again


def test_no_version_bears_an_alias_at_first(registry: Registry) -> None:
    assert registry.get_by_alias(CHAMPION) is None
    register(registry, "one")
    assert registry.get_by_alias(CHALLENGER) is None


def test_rollback_goes_to_the_champion_before(registry: Registry) -> None:
    first, second = register(registry, "one")["sft"], register(registry, "two")["dpo"]
    registry.set_alias(CHAMPION, first)
    registry.set_alias(CHAMPION, second)
    old, new = registry.roll_back()
    assert (old.number, new.number) == (second.number, first.number)
    assert registry.champion().number == first.number


def test_rollback_needs_a_champion_before(registry: Registry) -> None:
    register(registry, "none yet")
    with pytest.raises(InputError, match="no version is champion yet"):
        registry.roll_back()
    registry.set_alias(CHAMPION, register(registry, "one")["sft"])
    with pytest.raises(InputError, match="first champion"):
        registry.roll_back()


def test_pointing_twice_at_the_champion_forgets_nothing(registry: Registry) -> None:
    first, second = register(registry, "one")["sft"], register(registry, "two")["sft"]
    for version in (first, second, second):
        registry.set_alias(CHAMPION, version)
    assert registry.roll_back()[1].number == first.number


def test_nothing_is_written_elsewhere(places: Places, registry: Registry) -> None:
    register(registry, "one")
    with contextlib.chdir(places.root):
        assert {path.name for path in Path().iterdir()} <= {"mlflow.db", "mlruns", "models", "metrics"}


def test_training_may_begin_from_a_version_but_not_from_one_that_holds_forgotten_students(
    registry: Registry,
) -> None:
    version = register(registry, "one")["sft"]
    assert (registry.adapter(version.number) / "weights").read_text() == "sft weights"
    with pytest.raises(InputError, match=r"no version 99.*there are: 1"):
        registry.adapter(99)
    registry.forget("ann")
    with pytest.raises(InputError, match="warm_start"):
        registry.adapter(version.number)

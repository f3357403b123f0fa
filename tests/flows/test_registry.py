import contextlib
import shutil
from pathlib import Path

import pytest

from flows import history, registration
from flows.places import Places
from flows.registration import Results
from flows.registry import (
    CHALLENGER,
    CHAMPION,
    PROMOTED,
    ROLLED_BACK,
    TEST_STUDENTS,
    TRAIN_STUDENTS,
    Registry,
    Version,
)
from flows.tracking import MODEL
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
    results = Results(
        fingerprint,
        ADAPTERS,
        params={"preset.lora.rank": 16},
        metrics={"sft.codebleu": 0.5, "dpo.codebleu": 0.6},
        hashes={"models/small/tiny/sft": "abc.dir"},
        files=[registry.places.root / "metrics"],
        cards={method: f"# {method}" for method in ADAPTERS},
        students={TRAIN_STUDENTS: ["ann", "ben"], TEST_STUDENTS: ["cem"]},
        about={"synthetic": "true"},
    )
    return registration.register(registry, results)


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


def test_a_registration_that_was_cut_short_goes_on(registry: Registry) -> None:
    whole = register(registry, "one")
    registry.client.delete_model_version(registry.model, str(whole["dapo"].number))
    assert registry.find("one", ADAPTERS) == {}
    again = register(registry, "one")
    assert registry.find("one", ADAPTERS) == again
    assert len(registry.versions()) == len(ADAPTERS)
    assert {version.run_id for version in again.values()} == {whole["sft"].run_id}


def test_no_version_bears_an_alias_at_first(registry: Registry) -> None:
    assert registry.get_by_alias(CHAMPION) is None
    register(registry, "one")
    assert registry.get_by_alias(CHALLENGER) is None


def test_a_promotion_that_was_killed_is_brought_to_its_end_and_told_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = register(registry, "one")["sft"]
    tag = registry.tag

    def killed(version: Version, name: str, value: str) -> None:
        if name == PROMOTED:
            raise KeyboardInterrupt
        tag(version, name, value)

    monkeypatch.setattr(registry, "tag", killed)
    with pytest.raises(KeyboardInterrupt):
        registry.make_champion(version, "better")
    monkeypatch.undo()
    registry.make_champion(version, "better")
    champion = registry.champion()
    assert champion.tags[PROMOTED] == "true"
    assert [text.splitlines()[0] for _, text in history.events(champion.tags)] == ["champion: better"]


def test_rollback_goes_to_the_champion_before(registry: Registry) -> None:
    first, second = register(registry, "one")["sft"], register(registry, "two")["dpo"]
    registry.make_champion(first, "better")
    registry.make_champion(second, "better still")
    old, new = registry.roll_back("students complain")
    assert (old.number, new.number) == (second.number, first.number)
    assert registry.champion().number == first.number


def test_what_was_rolled_back_is_known_by_its_weights_until_it_is_champion_again(registry: Registry) -> None:
    first, second = register(registry, "one")["sft"], register(registry, "two")["dpo"]
    registry.make_champion(first, "better")
    registry.make_champion(second, "better still")
    registry.roll_back("students complain")
    equal = register(registry, "three")["dpo"]
    found = registry.rolled_back(equal.tags[MODEL])
    assert found is not None
    assert found.number == second.number
    assert found.tags[ROLLED_BACK] == "students complain"
    assert registry.rolled_back(first.tags[MODEL]) is None
    registry.make_champion(found, "by force")
    assert registry.rolled_back(equal.tags[MODEL]) is None


def test_what_happened_to_a_version_stays_on_its_page(registry: Registry) -> None:
    first, second = register(registry, "one")["sft"], register(registry, "two")["dpo"]
    registry.record(second, "gate: DPO is refused: too little\na table")
    registry.record(second, "gate: DPO passes")
    registry.make_champion(first, "better")
    registry.make_champion(second, "better still")
    registry.roll_back("students complain")
    told = [text.splitlines()[0] for _, text in history.events(registry.get(second.number).tags)]
    assert told == [
        "gate: DPO is refused: too little",
        "gate: DPO passes",
        f"champion in place of version {first.number}: better still",
        f"rolled back to version {first.number}: students complain",
    ]
    page = registry.client.get_model_version(registry.model, str(second.number)).description
    assert [page.index(line) for line in reversed(told)] == sorted(page.index(line) for line in told)
    assert "```\na table\n```" in page
    assert "Training and its loss curve" in page


def test_rollback_needs_a_champion_before(registry: Registry) -> None:
    register(registry, "none yet")
    with pytest.raises(InputError, match="no version is champion yet"):
        registry.roll_back("why not")
    registry.make_champion(register(registry, "one")["sft"], "better")
    with pytest.raises(InputError, match="first champion"):
        registry.roll_back("why not")


def test_pointing_twice_at_the_champion_forgets_nothing(registry: Registry) -> None:
    first, second = register(registry, "one")["sft"], register(registry, "two")["sft"]
    for version in (first, second, second):
        registry.make_champion(version, "better")
    assert registry.roll_back("why not")[1].number == first.number


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


def test_a_moved_workspace_finds_its_models_and_a_copy_leaves_the_original_alone(tmp_path: Path) -> None:
    first = Places("small", "tiny", tmp_path / "first")
    for method in ("base", *ADAPTERS):
        first.model(method).mkdir(parents=True)
        StudentCard(method, "small", "../base", "edits", "summary", 64, 16, "tiny").save(first.model(method))
    (first.root / "metrics").write_text("figures")
    register(Registry(first), "one")
    copy = Registry(Places("small", "tiny", Path(shutil.copytree(first.root, tmp_path / "copy"))))
    folder = copy.folder(copy.get(1))
    assert folder.is_relative_to(tmp_path / "copy")
    assert StudentCard.load(folder).method == copy.get(1).method
    before = sorted((tmp_path / "first").rglob("*"))
    register(copy, "two")
    assert sorted((tmp_path / "first").rglob("*")) == before
    first.root.rename(tmp_path / "moved")
    moved = Registry(Places("small", "tiny", tmp_path / "moved"))
    assert moved.folder(moved.get(1)).is_dir()

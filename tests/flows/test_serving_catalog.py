"""The service's catalog is as the registry is, whoever changes that; what `tutee serve` refuses."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import registration, serving_catalog
from flows.mlflow_client import ADDRESS
from flows.parameters import load
from flows.places import Places
from flows.registration import Results
from flows.registry import CHALLENGER, CHAMPION, FORGOTTEN, TEST_STUDENTS, TRAIN_STUDENTS, Registry, Version
from flows.serving_catalog import CatalogFile
from serving.catalog import Catalog, Course
from serving.keys import add_key
from tutee_evaluator.engines import EngineConfig
from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard

ADAPTERS = ("sft", "dpo")


@pytest.fixture(scope="module")
def folder(make, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project, the working folder, with shells of models that are registered."""
    project = make(tmp_path_factory.mktemp("project"))
    project.add_course("small")
    project.edit("params.yaml", "engine: {}", "engine: {batch: 4}")
    with contextlib.chdir(project.folder):
        places = Places("small", "tiny")
        for method in ("base", *ADAPTERS):
            places.model(method).mkdir(parents=True)
            card = StudentCard(method, "small", "../base", "edits", "summary", 64, 16, "tiny")
            card.save(places.model(method))
            (places.model(method) / "weights").write_text(f"{method} weights")
        yield project.folder


@pytest.fixture
def registry(folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry whose model, and course, is the test's own."""
    name = f"tutee-{request.node.name.partition('[')[0]}"
    made = Registry(Places("small", "tiny"))
    made.model = name
    monkeypatch.setattr(serving_catalog, "Registry", lambda places: made)
    return made


def register(registry: Registry) -> dict[str, Version]:
    results = Results(
        registry.model,
        ADAPTERS,
        params={},
        metrics={"sft.codebleu": 0.5, "dpo.codebleu": 0.6, "dpo.nats": float("nan")},
        hashes={},
        files=[],
        cards={method: f"# {method}" for method in ADAPTERS},
        students={TRAIN_STUDENTS: ["ann"], TEST_STUDENTS: []},
    )
    return registration.register(registry, results)


def course_of(file: Path) -> Course:
    return Catalog.load(file).courses["small"]


def updated(file: Path) -> Course:
    CatalogFile([load("small")], file).update()
    return course_of(file)


def test_it_names_every_version_where_mlflow_has_it(registry: Registry, tmp_path: Path) -> None:
    versions = register(registry)
    registry.client.set_registered_model_alias(registry.model, CHAMPION, str(versions["dpo"].number))
    registry.set_challenger(versions["sft"])
    course = updated(tmp_path / "catalog.json")
    assert (course.champion, course.challenger) == (versions["dpo"].number, versions["sft"].number)
    assert {number: version.method for number, version in course.versions.items()} == {
        version.number: method for method, version in versions.items()
    }
    champion = course.versions[versions["dpo"].number]
    assert champion.folder == registry.folder(versions["dpo"]).resolve()
    assert champion.metrics == {"codebleu": 0.6}  # JSON has no NaN
    assert course.names == ("double",)
    assert course.synthetic
    assert Catalog.load(tmp_path / "catalog.json").engine == EngineConfig(batch=4)


@pytest.mark.parametrize("part", ["base", "dpo"])
def test_altered_files_of_a_model_or_its_base_are_noticed(
    registry: Registry, tmp_path: Path, part: str
) -> None:
    version = register(registry)["dpo"]
    updated(tmp_path / "catalog.json")
    catalog = Catalog.load(tmp_path / "catalog.json")
    served = catalog.courses["small"].versions[version.number]
    catalog.check(served)
    weights = served.folder.parent / part / "weights"
    before = weights.read_text()
    weights.write_text("others")
    with pytest.raises(InputError, match=f"{part}: its files are not those"):
        catalog.check(served)
    weights.write_text(before)


def test_an_alias_that_anybody_moves_is_followed(registry: Registry, tmp_path: Path) -> None:
    versions, file = register(registry), tmp_path / "catalog.json"
    catalog = CatalogFile([load("small")], file)
    catalog.update()
    assert course_of(file).champion is None
    for method in ("sft", "dpo", "sft"):
        registry.client.set_registered_model_alias(registry.model, CHAMPION, str(versions[method].number))
        catalog.update()
        assert course_of(file).champion == versions[method].number


def test_the_file_is_written_only_where_it_would_change(registry: Registry, tmp_path: Path) -> None:
    versions, file = register(registry), tmp_path / "catalog.json"
    catalog = CatalogFile([load("small")], file)
    catalog.update()
    first = file.stat().st_ino
    catalog.update()
    assert file.stat().st_ino == first
    registry.set_challenger(versions["sft"])
    catalog.update()
    assert course_of(file).challenger == versions["sft"].number


def test_who_was_trained_on_the_forgotten_is_served_as_champion_alone(
    registry: Registry, tmp_path: Path
) -> None:
    versions = register(registry)
    for version in versions.values():
        registry.tag(version, FORGOTTEN, "1")
    registry.set_challenger(versions["sft"])
    registry.client.set_registered_model_alias(registry.model, CHAMPION, str(versions["dpo"].number))
    course = updated(tmp_path / "catalog.json")
    assert list(course.versions) == [course.champion] == [versions["dpo"].number]
    assert course.challenger is None
    assert registry.get_by_alias(CHALLENGER)


def test_before_the_first_retrain_there_is_a_course_and_no_database(project, tmp_path: Path) -> None:
    with contextlib.chdir(project.folder):
        course = updated(tmp_path / "catalog.json")
        assert (course.champion, course.versions) == (None, {})
        assert not Path("mlflow.db").exists()


def test_an_assignment_without_a_task_is_left_out_and_named(project, tmp_path: Path) -> None:
    (project.folder / "courses/small/assignments/double/task.md").unlink()
    with contextlib.chdir(project.folder):
        catalog = CatalogFile([load("small")], tmp_path / "catalog.json")
        assert catalog.left_out == [("small/double", "it has no task (task.md)")]
        catalog.update()
    assert course_of(tmp_path / "catalog.json").names == ()


def test_a_registry_that_is_away_is_said_once_and_waited_for(
    project, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's port is closed for the first two questions; then MLflow is this folder's again."""
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv(ADDRESS, "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    catalog, slept = CatalogFile([load("small")], tmp_path / "catalog.json"), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            monkeypatch.delenv(ADDRESS)
        if len(slept) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(serving_catalog.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        catalog.keep_current()
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said] == ["serve", "serve"]
    assert "the registry cannot be asked" in said[0]
    assert "127.0.0.1:9" in said[0]
    assert said[1] == "serve: the registry answers again"
    assert course_of(tmp_path / "catalog.json").versions == {}


# --- the command ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("--port", "99999"), "less than or equal to 65535"),
        (("--port", "0"), "greater than or equal to 1"),
        (("--host", "example.org"), "--host example.org: not an address"),
        (("--host", "0.0.0.0"), "`tutee keys add NAME` makes one"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_message(
    project, arguments: tuple[str, ...], told: str
) -> None:
    done = project.tutee("serve", "small", *arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert told in " ".join(done.stderr.split())


def test_a_key_is_enough_for_another_address(project) -> None:
    """Then the port decides, which is in use."""
    add_key(project.folder / "data/keys.json", "autograder")
    code = """
import socket, sys
from flows.cli import main
with socket.create_server(("0.0.0.0", 0)) as taken:
    sys.argv = ["tutee", "serve", "small", "--host", "0.0.0.0", "--port", str(taken.getsockname()[1])]
    main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=project.folder, capture_output=True, text=True)
    assert done.returncode == 3
    assert "is in use" in done.stderr

"""The flow on a course whose stages are all up to date: what it registers, promotes, packs and says."""

import base64
import contextlib
import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from flows import history, mlflow_client, promotion, release
from flows.comparison import rollouts_of
from flows.finding import find_student
from flows.parameters import load
from flows.pipeline import Pipeline
from flows.places import Places
from flows.registry import CHALLENGER, FORGOTTEN, Registry, Version
from serving.catalog import Catalog

pytestmark = pytest.mark.slow

ADAPTERS = ("para", "sft", "dpo", "dapo")


@pytest.fixture
def said(retrained) -> str:
    return (retrained.folder / "data/said").read_text()


def registry_of(project) -> Registry:
    return Registry(Places("small", "tiny", project.folder))


def test_it_ends_with_the_table_and_what_to_do_next(said: str) -> None:
    lines = said.splitlines()
    table = lines.index(next(line for line in lines if line.startswith("method")))
    assert [line.split()[0] for line in lines[table + 2 : table + 11]] == [
        *("COPY", "NEAREST", "TRANSITION", "MIX", "BASE", "PARA", "SFT", "DPO", "DAPO")
    ]
    ending = lines[table + 11 :]
    assert any("reports/small/tiny/report.html" in line for line in ending)
    assert any("tutee-small version" in line and "champion" in line for line in ending)
    assert any("synthetic" in line for line in ending)
    assert lines[-1].endswith("make serve COURSE=courses/small/course.yaml")


def test_each_stage_says_one_line_in_order(retrained, said: str) -> None:
    with contextlib.chdir(retrained.folder):
        stages = Pipeline.of(Places("small", "tiny")).stages
    names = [line.split(":")[0] for line in said.splitlines()]
    plain = [stage.replace("@small-tiny-", " ").removesuffix("@small-tiny") for stage in stages]
    assert names[: len(stages) + 1] == ["retrain", *(stage.removesuffix("@small") for stage in plain)]


def test_nothing_is_registered_promoted_or_built_twice(retrained, monkeypatch) -> None:
    monkeypatch.chdir(retrained.folder)
    setup, registry = load("small"), Registry(Places("small", "tiny"))
    pipeline, metrics = Pipeline.of(Places("small", "tiny")), pl.read_parquet(Places("small", "tiny").metrics)
    before = registry.versions()
    assert not release.register(setup, pipeline, registry, metrics)[1]
    assert not promotion.promote(setup, pipeline, registry, metrics).new
    assert "built before" in release.pack(setup, registry)
    assert registry.versions() == before
    assert [version.method for version in before] == list(ADAPTERS)


def test_the_best_candidate_is_champion_and_challenger(retrained) -> None:
    registry = registry_of(retrained)
    champion = registry.champion()
    skills = pl.read_parquet(Places("small", "tiny", retrained.folder).metrics).filter(
        pl.col("metric").is_in(["energy_skill_over_mix", "crps_skill_over_mix"]), stratum="overall"
    )
    of = {method: skills.filter(method=method)["value"].sum() for method in ("sft", "dpo", "dapo")}
    assert of[champion.method] == max(of.values())
    assert registry.get_by_alias(CHALLENGER) == champion


def test_the_bento_holds_the_champion_and_its_base(retrained) -> None:
    registry = registry_of(retrained)
    champion = registry.champion()
    packed = json.loads(registry.places.packed.read_text())
    student = registry.places.bentos / packed["folder"] / "src/student"
    course = Catalog.load(student / "catalog.json").courses["small"]
    assert (course.champion, course.versions[champion.number].method) == (champion.number, champion.method)
    assert retrained.weights(student / "model") == champion.method
    assert retrained.weights(student / "base") == "base"


def test_prefect_remembers_each_step(retrained) -> None:
    with contextlib.closing(sqlite3.connect(retrained.folder / "data/.prefect/prefect.db")) as database:
        flows = database.execute("SELECT name, state_type FROM flow_run").fetchall()
        tasks = database.execute("SELECT name, state_type FROM task_run").fetchall()
        artifacts = dict(database.execute("SELECT DISTINCT key, data FROM artifact").fetchall())
    assert flows == [("small tiny", "COMPLETED")]
    assert {state for _, state in tasks} == {"COMPLETED"}
    assert {"sft@small-tiny", "report@small-tiny", "register", "promote", "pack"} <= {
        name for name, _ in tasks
    }
    assert "TRANSITION" in artifacts["results-small"]
    assert "gain over" in artifacts["gate-small"]
    picture = (retrained.folder / "reports/small/tiny/figures/skill.png").read_bytes()
    assert base64.b64encode(picture).decode() in artifacts["skill-small"]


def test_nothing_is_written_outside_the_project(retrained, monkeypatch: pytest.MonkeyPatch) -> None:
    written = {path.name for path in retrained.folder.iterdir()}
    assert written <= {
        *(".dvc", ".dvcignore", "bentos", "courses", "data", "dvc.lock", "dvc.yaml", "mlflow.db", "mlruns"),
        *("models", "packages", "params.yaml", "presets", "reports"),
    }


def test_the_log_has_each_event_and_no_student(retrained) -> None:
    places = Places("small", "tiny", retrained.folder)
    text = places.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    with contextlib.chdir(retrained.folder):
        stages = list(Pipeline.of(Places("small", "tiny")).stages)
    assert [line["stage"] for line in lines if line["event"] == "stage"] == stages
    others = [(line["event"], line["outcome"]) for line in lines if line["event"] != "stage"]
    assert others == [
        ("retrain", "started"),
        *((event, "done") for event in ("register", "promote", "pack", "retrain")),
    ]
    assert next(line for line in lines if line["event"] == "register")["versions"] == [1, 2, 3, 4]
    submissions = pl.read_parquet(places.submissions)
    log = pl.read_csv(retrained.folder / "courses/small/log.csv")
    secrets = [*submissions["student"].unique(), *log["student"].unique(), "def double", "by hand"]
    assert [secret for secret in secrets if secret in text] == []


def test_a_champion_trained_on_forgotten_students_need_not_be_beaten(retrained, monkeypatch) -> None:
    monkeypatch.chdir(retrained.folder)
    registry = registry_of(retrained)
    champion = registry.champion()
    forgotten = replace(champion, tags={**champion.tags, FORGOTTEN: "1"})
    _, ledger = promotion._compare(champion.method, load("small"), registry, forgotten)
    assert list(ledger) == ["BASE", "COPY"]


def trained_again(project, text: str) -> None:
    """New weights for every model."""
    for method in ("base", *ADAPTERS):
        project.write_weights(Places("small", "tiny").model(method), f"{method}, {text}")
    project.commit("small")


def champion_does_as(method: str, champion: Version) -> None:
    """Writes rollouts of a registered version, which is an empty shell, as if it did what a method does."""
    setup = load("small")
    student = find_student(f"models:/tutee-small/{champion.number}", {}, setup.places)
    rollouts = pl.read_parquet(setup.places.rollout(method)).with_columns(method=pl.lit(student.name))
    table = rollouts_of(student, setup)
    table.parent.mkdir(exist_ok=True)
    rollouts.write_parquet(table)


def keep_an_equal_out_and_let_a_better_in(project, registry: Registry) -> None:
    """Has the gate decide on new weights, beside a champion that does as well, and one that does as COPY."""
    setup, first = load("small"), registry.champion()
    for like, promoted in ((first.method, False), ("copy", True)):
        champion_does_as(like, first)
        trained_again(project, f"to be compared with {like}")
        pipeline, metrics = Pipeline.of(setup.places), pl.read_parquet(setup.places.metrics)
        release.register(setup, pipeline, registry, metrics)
        released = promotion.promote(setup, pipeline, registry, metrics)
        assert released.new
        assert released.passed == promoted
        assert (registry.champion().number != first.number) == promoted, released.decision
        assert f"better    {'yes' if promoted else 'no '}" in released.decision
        assert registry.describe(first) in released.decision
        if not promoted:
            assert "is not clearly better than" in released.decision
            assert not promotion.promote(setup, pipeline, registry, metrics, again=True).passed


def test_a_server_remembers_what_the_gate_decides(
    retrained, mlflow_server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = type(retrained)(shutil.copytree(retrained.folder, tmp_path / "project"))
    (project.folder / "mlflow.db").unlink()
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv(mlflow_client.ADDRESS, mlflow_server.address)
    setup, registry = load("small"), registry_of(project)
    pipeline, metrics = Pipeline.of(setup.places), pl.read_parquet(setup.places.metrics)
    release.register(setup, pipeline, registry, metrics)
    assert promotion.promote(setup, pipeline, registry, metrics).passed
    keep_an_equal_out_and_let_a_better_in(project, registry)
    champion = registry.champion()
    assert champion.number > len(ADAPTERS)
    assert project.weights(registry.folder(champion)) == f"{champion.method}, to be compared with copy"
    assert not (project.folder / "mlflow.db").exists()


def test_the_gate_keeps_an_equal_out_and_lets_a_better_in(retrained, monkeypatch) -> None:
    """Last, because it changes the project."""
    monkeypatch.chdir(retrained.folder)
    setup = load("small")
    registry = registry_of(retrained)
    first = registry.champion()
    keep_an_equal_out_and_let_a_better_in(retrained, registry)
    pipeline, metrics = Pipeline.of(setup.places), pl.read_parquet(setup.places.metrics)
    registry.roll_back("students complain")
    # What was rolled back stays so, and is refused if the gate is asked again.
    for again in (False, True):
        released = promotion.promote(setup, pipeline, registry, metrics, again=again)
        assert registry.champion().number == first.number
    assert "was rolled back (students complain)" in released.decision
    # Until somebody says why it should not.
    forced = promotion.promote(setup, pipeline, registry, metrics, again=True, because="they were wrong")
    assert not forced.passed
    champion = registry.champion()
    assert champion.number != first.number
    assert "by force: they were wrong" in history.events(champion.tags)[-1][1]

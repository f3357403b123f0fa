"""The flow on a course whose stages are all up to date: what it registers, promotes, packs and says."""

import contextlib
import json
import sqlite3

import polars as pl
import pytest

from flows import release
from flows.errors import RefusedError
from flows.parameters import load
from flows.pipeline import Pipeline
from flows.places import Places
from flows.registry import CHALLENGER, Registry

pytestmark = pytest.mark.slow

ADAPTERS = ("para", "sft", "dpo", "dapo")


@pytest.fixture(scope="module")
def retrained(reported):
    """The project, after the flow has been run; and what it said."""
    run = reported.tutee("retrain", "small")
    assert run.returncode == 0, run.stderr
    return reported, run.stdout


def registry_of(project) -> Registry:
    return Registry(Places("small", "tiny", project.folder))


def test_it_ends_with_the_table_and_what_to_do_next(retrained) -> None:
    _, said = retrained
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


def test_each_stage_says_one_line_in_order(retrained) -> None:
    project, said = retrained
    with contextlib.chdir(project.folder):
        stages = Pipeline.of(Places("small", "tiny")).stages
    names = [line.split(":")[0] for line in said.splitlines()]
    plain = [stage.replace("@small-tiny-", " ").removesuffix("@small-tiny") for stage in stages]
    assert names[: len(stages)] == [stage.removesuffix("@small") for stage in plain]


def test_nothing_is_registered_promoted_or_built_twice(retrained, monkeypatch) -> None:
    project, _ = retrained
    monkeypatch.chdir(project.folder)
    setup, registry = load("small"), Registry(Places("small", "tiny"))
    pipeline, metrics = Pipeline.of(Places("small", "tiny")), pl.read_parquet(Places("small", "tiny").metrics)
    before = registry.versions()
    assert not release.register(setup, pipeline, registry, metrics)[1]
    assert not release.promote(setup, pipeline, registry, metrics)[1]
    assert "built before" in release.pack(setup, registry)
    assert registry.versions() == before
    assert [version.method for version in before] == list(ADAPTERS)


def test_the_best_candidate_is_champion_and_challenger(retrained) -> None:
    from flows.gate import GateConfig, score

    project, _ = retrained
    registry = registry_of(project)
    champion = registry.champion()
    metrics = pl.read_parquet(Places("small", "tiny", project.folder).metrics)
    scores = {method: score(metrics, method, GateConfig()).score for method in ("sft", "dpo", "dapo")}
    assert scores[champion.method] == max(scores.values())
    assert registry.get_by_alias(CHALLENGER) == champion


def test_what_is_served_holds_the_champion_and_its_base(retrained) -> None:
    project, _ = retrained
    champion = registry_of(project).champion()
    folder = project.folder / "bentos/students/small"
    about = json.loads((folder / "about.json").read_text())
    assert (about["method"], about["version"]) == (champion.method, str(champion.number))
    assert (folder / "student/weights").read_text() == champion.method
    assert (folder / "base/weights").read_text() == "base"


def test_prefect_remembers_each_step(retrained) -> None:
    project, _ = retrained
    with contextlib.closing(sqlite3.connect(project.folder / "data/.prefect/prefect.db")) as database:
        flows = database.execute("SELECT name, state_type FROM flow_run").fetchall()
        tasks = database.execute("SELECT name, state_type FROM task_run").fetchall()
        (artifact,) = database.execute("SELECT DISTINCT data FROM artifact").fetchall()
    assert flows == [("small tiny", "COMPLETED")]
    assert {state for _, state in tasks} == {"COMPLETED"}
    assert {"sft@small-tiny", "report@small-tiny", "register", "promote", "pack"} <= {
        name for name, _ in tasks
    }
    assert "COPY" in artifact[0]


def test_nothing_is_written_outside_the_project(retrained, monkeypatch: pytest.MonkeyPatch) -> None:
    project, _ = retrained
    written = {path.name for path in project.folder.iterdir()}
    assert written <= {
        *(".dvc", ".dvcignore", "bentos", "courses", "data", "dvc.lock", "dvc.yaml", "mlflow.db", "mlruns"),
        *("models", "packages", "params.yaml", "presets", "reports"),
    }


def trained_again(project, score: float) -> None:
    """New weights for every model, whose rollouts come to the figure `score` in every metric."""
    places = Places("small", "tiny")
    for method in ("base", *ADAPTERS):
        (places.model(method) / "weights").write_text(f"{method} for a score of {score}")
    figures = pl.read_parquet(places.metrics)
    mine = pl.col("method").is_in(ADAPTERS) & pl.col("metric").is_in(
        ["grade_proximity", "codebleu", "coverage"]
    )
    figures.with_columns(value=pl.when(mine).then(score).otherwise("value")).write_parquet(places.metrics)
    project.commit("small", "report@small-tiny")


def test_the_gate_keeps_an_equal_out_and_lets_a_better_in(retrained, monkeypatch) -> None:
    """Last, because it changes the project."""
    project, _ = retrained
    monkeypatch.chdir(project.folder)
    setup = load("small")
    registry = registry_of(project)
    first = registry.champion()
    for score, promoted in ((0.5, False), (0.99, True)):
        trained_again(project, score)
        places = Places("small", "tiny")
        pipeline, metrics = Pipeline.of(places), pl.read_parquet(places.metrics)
        release.register(setup, pipeline, registry, metrics)
        said, new = release.promote(setup, pipeline, registry, metrics)
        assert new
        assert (registry.champion() != first) == promoted, said
        if not promoted:
            assert "does not exceed the champion's" in said
            with pytest.raises(RefusedError):
                release.promote(setup, pipeline, registry, metrics, again=True)
    registry.roll_back()
    assert registry.champion() == first
    # The gate has spoken of these results: what was rolled back stays so.
    assert not release.promote(setup, pipeline, registry, metrics)[1]
    assert registry.champion() == first

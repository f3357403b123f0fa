import contextlib
from pathlib import Path

import pytest
import yaml

from flows.errors import StageError
from flows.pipeline import Pipeline
from flows.places import Places
from flows.repository import open_repository
from tutee_evaluator.schemas import BASELINE_METHODS

TRAINED = ("base", "sft", "para", "dpo", "dapo")


def lock_entries(folder: Path, course: str) -> dict[str, object]:
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    return {name: stage for name, stage in stages.items() if f"@{course}" in name}


def test_a_stage_writes_where_places_says(project) -> None:
    places = Places("small", "tiny")
    expected = {
        *(places.source, places.forgotten_noted, places.submissions, places.quarantine),
        *(places.account, places.data_docs),
        *(places.verdicts, places.dialogs, places.pairs, places.metrics, places.report),
        *(places.metrics_json, places.solved, places.tables, places.figures),
        *(places.model(method) for method in TRAINED),
        *(places.rollout(method) for method in (*BASELINE_METHODS, *TRAINED)),
        *(places.rollout_card(method) for method in TRAINED),
        *(places.exposures(method) for method in TRAINED),
    }
    with contextlib.chdir(project.folder), open_repository(Path()) as repo:
        written = {
            str(out) for stage in Pipeline.of(places).stages for out in repo.stage.load_one(name=stage).outs
        }
    assert written == {str(path) for path in expected}


def test_stages_run_in_an_order_that_works(project) -> None:
    with contextlib.chdir(project.folder), open_repository(Path()) as repo:
        there: set[str] = set()
        for name in Pipeline.of(Places("small", "tiny")).stages:
            stage = repo.stage.load_one(name=name)
            made_here = {str(dep) for dep in stage.deps if str(dep).startswith(("data", "models", "reports"))}
            assert all(any(one == dep or one.startswith(f"{dep}/") for one in there) for dep in made_here)
            there |= {str(out) for out in stage.outs}


def test_every_part_of_a_preset_belongs_to_a_stage(project) -> None:
    """A setting that no stage depends on could be changed without anything being trained again."""
    stages = yaml.safe_load((project.folder / "dvc.yaml").read_text())["stages"]
    named = {
        section
        for stage in stages.values()
        for params in stage.get("params", [])
        if isinstance(params, dict)
        for section in params["presets/${item.preset}.yaml"]
    }
    for preset in (project.folder / "presets").glob("*.yaml"):
        sections = yaml.safe_load(preset.read_text())
        assert set(sections) == named or sections["dialog"].get("kind") == "learner"


def test_nothing_runs_when_nothing_changed(settled) -> None:
    with contextlib.chdir(settled.folder):
        assert list(Pipeline.of(Places("small", "tiny")).out_of_date()) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("params.yaml", "report: {}", "report: {resamples: 100}", {"report@small-tiny"}),
        (
            "presets/tiny.yaml",
            "rollout: {}",
            "rollout: {steps: 2}",
            {
                *(f"baseline@small-tiny-{name}" for name in BASELINE_METHODS),
                *(f"rollout@small-tiny-{method}" for method in TRAINED),
            },
        ),
        ("presets/tiny.yaml", "\ndpo:\n", "\ndpo:\n  beta: 0.4\n", {"dpo@small-tiny"}),
        ("packages/evaluator/tutee_evaluator/report/page.py", "import", "import ", {"report@small-tiny"}),
    ],
)
def test_a_change_reruns_what_depends_on_it(
    changed, file: str, old: str, new: str, expected: set[str]
) -> None:
    project = changed
    project.edit(file, old, new)
    with contextlib.chdir(project.folder):
        late = set(Pipeline.of(Places("small", "tiny")).out_of_date())
    assert expected <= late
    before = {
        "ingest@small",
        "grade@small",
        "serialize@small-tiny",
        "base@small-tiny",
        "sft@small-tiny",
        "para@small-tiny",
    }
    assert not late & before


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("params.yaml", "engine: {}", "engine: {batch: 8}", set()),
        ("params.yaml", "grade: {}", "grade: {cluster: auto}", set()),
        ("packages/evaluator/tutee_evaluator/report/report.html", "<h2 ", "<h2  ", {"report@small-tiny"}),
        ("packages/trainer/tutee_trainer/methods/dapo.py", "import", "import ", {"dapo@small-tiny"}),
    ],
)
def test_a_change_reruns_nothing_that_it_cannot_change(
    changed, file: str, old: str, new: str, expected: set[str]
) -> None:
    changed.edit(file, old, new)
    with contextlib.chdir(changed.folder):
        outdated = set(Pipeline.of(Places("small", "tiny")).out_of_date())
    assert outdated == set(expected)


def test_an_edit_of_how_turns_are_written_makes_every_model_out_of_date(changed) -> None:
    changed.edit("packages/serializer/tutee_serializer/dialogs/formats.py", "from enum", "from  enum")
    with contextlib.chdir(changed.folder):
        outdated = set(Pipeline.of(Places("small", "tiny")).out_of_date())
    assert {f"{name}@small-tiny" for name in ("serialize", "pairs", *TRAINED)} <= outdated
    assert {f"baseline@small-tiny-{name}" for name in BASELINE_METHODS} <= outdated
    assert not {"ingest@small", "grade@small"} & outdated


def test_a_course_leaves_the_entries_of_another_alone(changed) -> None:
    project = changed
    project.add_course("other")
    before = lock_entries(project.folder, "small")
    with contextlib.chdir(project.folder):
        assert Pipeline.of(Places("other", "tiny")).run("source@other")
    assert lock_entries(project.folder, "small") == before
    assert set(lock_entries(project.folder, "other")) == {"source@other"}


def test_a_preset_leaves_the_entries_of_another_alone(changed) -> None:
    changed.edit("params.yaml", "presets: [tiny]", "presets: [tiny, smollm2-135m]")
    before = lock_entries(changed.folder, "small")
    with contextlib.chdir(changed.folder):
        other = Pipeline.of(Places("small", "smollm2-135m"))
        stage = "pairs@small-smollm2-135m"
        Path("data/small/smollm2-135m").mkdir()
        for name in ("dialogs", "pairs"):
            Path(f"data/small/smollm2-135m/{name}.parquet").touch()
        other.repo.commit(stage, force=True)
        assert list(Pipeline.of(Places("small", "tiny")).out_of_date()) == []
    after = lock_entries(changed.folder, "small")
    assert after.pop(stage)
    assert after == before


@pytest.mark.parametrize("file", ["log.csv", "course.yaml", "assignments/double/tests.yaml"])
def test_what_a_course_reads_is_noticed_when_it_changes(changed, file: str) -> None:
    project = changed
    path = project.folder / "courses/small" / file
    path.write_text(path.read_text().replace("two", "two ").replace("-1", "-3").replace("-2", "-6"))
    with contextlib.chdir(project.folder):
        pipeline = Pipeline.of(Places("small", "tiny"))
        pipeline.run("source@small")
        assert {"ingest@small", "grade@small"} <= set(pipeline.out_of_date())


def test_the_lock_file_is_written_where_a_stage_has_made_something_new(changed) -> None:
    log, lock = changed.folder / "courses/small/log.csv", changed.folder / "dvc.lock"
    before = lock.stat().st_mtime_ns
    with contextlib.chdir(changed.folder):
        pipeline = Pipeline.of(Places("small", "tiny"))
        assert pipeline.run("source@small")
        assert lock.stat().st_mtime_ns == before
        log.write_text(log.read_text().replace("by hand", "by foot"))
        pipeline.run("source@small")
        assert "source@small" not in Pipeline.of(Places("small", "tiny")).out_of_date()


def test_a_failed_stage_keeps_its_exit_code(project) -> None:
    (project.folder / "courses/small/log.csv").write_text("student,assignment,code,semester,attempt\n")
    with contextlib.chdir(project.folder):
        pipeline = Pipeline.of(Places("small", "tiny"))
        pipeline.run("source@small")
        with pytest.raises(StageError) as caught:
            pipeline.run("ingest@small")
    assert caught.value.exit_code == 2

"""`tutee experiment`: a file in, a report out, in a project of its own."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

import flows.classroom
from flows import mlflow_client
from flows.experiment import Experiment, run_experiment
from flows.parameters import load
from flows.places import Places
from flows.validation import run_validation
from tutee_evaluator.experiments.play import PLAYED
from tutee_grader.errors import InputError

from ..fake_student import FakeStudent

PROGRAMS = tuple(f"def double(n):\n    return {value}\n" for value in ("n", "n + 2", "n * 2", "n *"))


VALUES: dict[str, Any] = {
    "course": "small",
    "student": "sft",
    "policies": {
        "silence": "none",
        "summary": "summary",
        "again": "summary",
        "hints": {"hints": "hints.yaml"},
    },
    "class": {"start": "task", "students": 10},
    "samples": 1,
    "steps": 3,
}


@pytest.fixture
def folder(reported) -> Iterator[Path]:
    """The course `small` with a report, and that folder as the working one."""
    with contextlib.chdir(reported.folder):
        Path("hints.yaml").write_text("double: [look at n, use 2 * n]\n")
        yield reported.folder


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Experiment, FakeStudent]]:
    def run(name: str, patience: int = 10**6, **changes: Any) -> tuple[Experiment, FakeStudent]:
        Path(f"{name}.yaml").write_text(yaml.safe_dump(VALUES | changes))
        student = FakeStudent(PROGRAMS, patience=patience)
        monkeypatch.setattr(flows.classroom, "engine_maker", lambda *_: lambda: student)
        found = Experiment.load(Path(f"{name}.yaml"))
        run_experiment(found)
        return found, student

    return run


def test_a_file_becomes_tables_a_page_and_a_run_of_mlflow(run: Callable[..., Any]) -> None:
    found, _ = run("mine")

    played = pl.read_parquet(found.folder / "played.parquet")
    assert played.schema == PLAYED
    assert played.select("policy", "student", "sample").n_unique() == 4 * 10
    alike = [played.filter(policy=name).drop("policy") for name in ("summary", "again")]
    assert alike[0].equals(alike[1])
    hints = played.filter(policy="hints", step=2).drop_nulls("feedback")
    assert set(hints["feedback"]) == {"use 2 * n"}
    figures = pl.read_csv(found.folder / "figures.csv")
    assert figures.height == len(json.loads((found.folder / "figures.json").read_text()))
    assert "10 artificial students" in (found.folder / "report.html").read_text()

    client = mlflow_client.connect(Places("small", "tiny"))
    within = mlflow_client.experiment_id(client, Places("small", "tiny"))
    (told,) = client.search_runs([within], "tags.mlflow.runName = 'mine'")
    value = figures.filter(policy="hints", outcome="solved", stratum="overall").filter(
        pl.col("other").is_null()
    )["value"]
    assert told.data.metrics["solved.hints"] == pytest.approx(value.item())
    assert told.data.params["samples"] == "1"
    names = {file.path for file in client.list_artifacts(told.info.run_id)}
    assert names == {"mine.yaml", "figures.csv", "figures.json", "report.html"}


def test_a_killed_experiment_goes_on_to_the_same_results(run: Callable[..., Any], folder: Path) -> None:
    whole, student = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("killed", patience=student.asked // 2)
    killed = Places("small", "tiny").experiment("killed")
    assert not killed.exists()
    found, rest = run("killed")
    assert 0 < rest.asked < student.asked
    for name in ("figures.csv", "figures.json"):
        assert (found.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert not list((folder / "data").rglob("killed-*"))


def test_another_file_of_hints_is_another_experiment(run: Callable[..., Any], folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run("changed", patience=30)
    Path("hints.yaml").write_text("double: [something else]\n")
    found, _ = run("changed")
    hints = pl.read_parquet(found.folder / "played.parquet").filter(policy="hints")
    assert set(hints["feedback"].drop_nulls()) == {"something else"}


def test_the_presets_own_dialogs_need_not_be_there(run: Callable[..., Any], folder: Path) -> None:
    """As with a student of another preset, in a course that was serialized for that one alone."""
    dialogs = Places("small", "tiny").dialogs
    kept = dialogs.rename(dialogs.with_suffix(".kept"))
    try:
        found, _ = run("unserialized")
    finally:
        kept.rename(dialogs)
    assert (found.folder / "report.html").exists()


def test_histories_are_those_of_held_out_students(run: Callable[..., Any]) -> None:
    found, _ = run("histories", **{"class": {"start": "history"}})
    played = pl.read_parquet(found.folder / "played.parquet")
    submissions = pl.read_parquet(Places("small").submissions)
    held_out = submissions.filter(semester="two", order=1)
    first = played.filter(step=0, policy="silence").select("student", "code")
    assert sorted(first.rows()) == sorted(held_out.select("student", "code").rows())


def test_what_is_wrong_is_said_before_a_student_is_loaded(folder: Path, run: Callable[..., Any]) -> None:
    policies = {"hints": {"hints": "none.yaml"}, "mine": {"function": "nowhere:say"}, "none": "none"}
    with pytest.raises(InputError, match=r"(?s)policy hints: none.yaml.*policy mine: nowhere:say"):
        run("wrong", policies=policies)
    with pytest.raises(InputError, match=r"class.assignments: there is no triple; there are double"):
        run("wrong", **{"class": {"assignments": ["triple"]}, "policies": {"a": "none", "b": "full"}})


def test_a_validation_needs_arms_that_can_be_told_apart(folder: Path) -> None:
    setup = load("small", logs=False)
    for arms, problem in (
        ({}, "`arms` has 0 arms; two are needed"),
        ({"a": "none", "b": "full", "c": "none"}, "`arms`: a and c were told the same, none"),
    ):
        of = replace(setup, course=setup.course.model_copy(update={"arms": arms}))
        with pytest.raises(InputError, match=problem):
            run_validation(of, "sft", samples=1, steps=2, students=None)


def test_a_course_with_arms_tells_each_student_what_the_arm_was_told(project) -> None:
    with contextlib.chdir(project.folder):
        assert load("small").preset.dialog.feedback == "summary"
        project.edit("courses/small/course.yaml", "attempt: attempt}", "attempt: attempt, arm: arm}")
        with Path("courses/small/course.yaml").open("a") as file:
            file.write("arms: {a: none, b: full}\n")
        assert load("small").preset.dialog.feedback == "arm"


def test_the_command_needs_a_file_of_an_experiment(project) -> None:
    none = project.tutee("experiment")
    assert none.returncode == 2 and "name the file of an experiment" in none.stderr
    missing = project.tutee("experiment", "mine.yaml")
    assert missing.returncode == 2 and "mine.yaml: no such file" in missing.stderr


def test_what_an_experiments_file_says_is_no_option(project) -> None:
    refused = project.tutee("experiment", "mine.yaml", "--preset", "tiny", "--samples", "4")
    assert refused.returncode == 2
    assert "mine.yaml: --preset, --samples: only with --validate" in " ".join(refused.stderr.split())

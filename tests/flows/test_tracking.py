"""Trainings as runs of MLflow, with a real database, a real server, and real processes that are killed."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.environment_variables import (
    MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR,
    MLFLOW_HTTP_REQUEST_BACKOFF_JITTER,
)

from flows import mlflow_client, registration, tracking
from flows.doctor import checks
from flows.parameters import Setup, load
from flows.places import Places
from flows.provenance import folder_hash, provenance
from flows.registration import Results
from flows.registry import NO_TRAINING, TEST_STUDENTS, TRAIN_STUDENTS, TRAINED_IN, Registry, Version
from flows.serving_catalog import CatalogFile
from flows.unneeded_runs import find_unneeded
from serving.catalog import Catalog
from tutee_grader.errors import InputError, UnavailableError
from tutee_serializer.card import StudentCard
from tutee_trainer.method import Method, load_methods
from tutee_trainer.training import TrainingJob, TrainingResult

LOSSES = (3.0, 2.0, 1.5)


@dataclass
class Lesson:
    """Stands for a method's training: tells the tracker one loss a step and writes a model of one file."""

    losses: tuple[float, ...] = LOSSES
    first: int = 1
    error: Exception | None = None
    weights: str = "weights"

    def __call__(self, job: TrainingJob) -> TrainingResult:
        assert job.tracker is not None
        for step, loss in enumerate(self.losses, self.first):
            job.tracker.log(step, {"loss": loss, "learning_rate": 0.1})
        if self.error:
            raise self.error
        job.output.mkdir(parents=True, exist_ok=True)
        (job.output / "adapter_model.safetensors").write_text(self.weights)
        StudentCard("sft", "small", "../base", "edits", "summary", 64, 16, "tiny").save(job.output)
        steps = self.first + len(self.losses) - 1
        return TrainingResult(job.output, 8, steps, 1000, self.losses[-1], 1.0)


@pytest.fixture
def places(settled, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Places:
    """The project's course, with an experiment of its own for the test: a new database takes seconds."""
    monkeypatch.chdir(settled.folder)
    name = f"tutee-{request.node.name}"
    client = mlflow_client.connect(Places("small", "tiny"))
    identifier = client.create_experiment(name, Path("mlruns", request.node.name).resolve().as_uri())
    for module in (mlflow_client, tracking):
        monkeypatch.setattr(module, "experiment_id", lambda client, places: identifier)
    return Places("small", "tiny")


def method(lesson: Lesson) -> Method:
    return replace(load_methods()["sft"], train=lesson)


def job(places: Places, setup: Setup | None = None) -> TrainingJob:
    setup = setup or load("small")
    output = Path(places.root, "out", "sft")
    return TrainingJob(
        setup.preset,
        "small",
        output,
        places.model("base"),
        places.model("base"),
        output,
        output,
        output.with_name("checkpoints"),
    )


def train(places: Places, lesson: Lesson) -> TrainingResult:
    return tracking.train(method(lesson), job(places), places)


def runs(places: Places) -> list[Run]:
    """The runs of the test's experiment, the newest first."""
    client = mlflow_client.connect(places)
    return list(
        client.search_runs(
            [mlflow_client.experiment_id(client, places)], order_by=["attributes.start_time DESC"]
        )
    )


def curve(places: Places, run: Run, name: str = "loss") -> dict[int, float]:
    history = mlflow_client.connect(places).get_metric_history(run.info.run_id, name)
    return {metric.step: metric.value for metric in history}


# --- a training that ends well ----------------------------------------------------------------------


def test_every_step_and_the_model_are_kept(places: Places) -> None:
    result = train(places, Lesson())
    (run,) = runs(places)
    assert (run.info.run_name, run.info.status) == ("sft", "FINISHED")
    assert curve(places, run) == dict(enumerate(LOSSES, 1))
    assert set(curve(places, run, "learning_rate")) == {1, 2, 3}
    assert run.data.metrics["total_tokens"] == 1000
    assert run.data.metrics["total_seconds"] > 0
    kept = Path(run.info.artifact_uri.removeprefix("file://")) / "sft"
    assert folder_hash(kept) == folder_hash(result.folder) == run.data.tags[tracking.MODEL]


def test_the_parameters_are_the_sections_that_the_stage_depends_on(places: Places) -> None:
    train(places, Lesson())
    (run,) = runs(places)
    preset = load("small").preset
    assert run.data.params["lora.rank"] == str(preset.lora.rank)
    assert run.data.params["sft.batch"] == str(preset.methods["sft"].batch)
    assert {name.split(".")[0] for name in run.data.params} == {"preset", "model", "lora", "sft", "dialog"}
    base = tracking._parameters(load_methods()["base"], job(places))
    assert {name.split(".")[0] for name in base} == {"preset", "model", "tokenizer", "base", "dialog"}


def test_figures_can_be_read_while_the_training_goes_on(places: Places) -> None:
    """The lesson waits for its own loss to be in MLflow."""
    seen: list[float] = []

    def watch(training: TrainingJob) -> TrainingResult:
        assert training.tracker is not None
        training.tracker.log(1, {"loss": 3.0})
        deadline = time.monotonic() + 60
        while not seen and time.monotonic() < deadline:
            (run,) = runs(places)
            assert run.info.status == "RUNNING"
            seen.extend(run.data.metrics[name] for name in ("loss",) if name in run.data.metrics)
            time.sleep(0.05)
        return TrainingResult(places.model("base"), 0, 1, 0, 3.0, 0.0)

    tracking.train(replace(load_methods()["sft"], train=watch), job(places), places)
    assert seen == [3.0]
    assert "system/cpu_utilization_percentage" in runs(places)[0].data.metrics


def test_a_run_says_what_it_was_made_of(places: Places) -> None:
    train(places, Lesson())
    tags = runs(places)[0].data.tags
    locked = (places.root / "dvc.lock").read_text()
    for path in ("data/small/tiny/dialogs.parquet", "models/small/tiny/base"):
        assert f"md5: {tags[f'dvc.{path}']}" in locked
    assert tags["git"].startswith("not a git repository")
    assert tags["version.python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"version.torch", "version.trl", "version.tutee-grader", "version.verdicts", "device"} <= set(tags)


def test_the_commit_is_named_and_whether_files_differ_from_it(places: Places, tmp_path: Path) -> None:
    from flows.provenance import _code

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("one")
    git("add", ".")
    git("commit", "-m", "first")
    (tmp_path / "dvc.lock").touch()  # a result, whatever made it
    assert _code(tmp_path)["git"].endswith(", clean")
    (tmp_path / "file").write_text("two")
    assert _code(tmp_path)["git"].endswith(", 1 files differ from the commit")


def test_a_change_of_code_makes_another_job(changed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(changed.folder)
    before = provenance(Places("small", "tiny"), "sft")["job"]
    assert provenance(Places("small", "tiny"), "sft")["job"] == before
    with Path("packages/trainer/tutee_trainer/methods/sft.py").open("a") as code:
        code.write("# changed\n")
    assert provenance(Places("small", "tiny"), "sft")["job"] != before


def test_the_version_that_it_began_from_is_named(changed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(changed.folder)
    assert "params.warm_start" not in provenance(Places("small", "tiny"), "sft")
    file = Path("params.yaml")
    file.write_text(file.read_text().replace("warm_start: null", "warm_start: 3"))
    assert provenance(Places("small", "tiny"), "sft")["params.warm_start"] == "3"


# --- one that fails ---------------------------------------------------------------------------------


def test_a_failed_training_is_marked_with_its_message(places: Places) -> None:
    with pytest.raises(InputError):
        train(places, Lesson(error=InputError("dialogs.parquet: missing; run `tutee serialize` first")))
    (run,) = runs(places)
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "dialogs.parquet: missing; run `tutee serialize` first"
    assert curve(places, run) == dict(enumerate(LOSSES, 1))


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from mlflow import MlflowClient
from flows import tracking
from flows.parameters import load
from flows.places import Places
from tutee_trainer.method import load_methods
from tutee_trainer.training import TrainingJob
tracking.experiment_id = lambda client, places: sys.argv[2]
places = Places("small", "tiny")
path = places.model("base")
job = TrainingJob(load("small").preset, "small", path, path, path, path, path, path)
run = tracking.TrainingRun.start(load_methods()["sft"], job, places)
run.log(1, {"loss": 3.0})
run.log(2, {"loss": 2.0})
run.log(3, {"loss": 9.0})
run._send()
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_training(places: Places) -> str:
    """Has a process train and be killed after three steps; returns its run's id."""
    experiment = mlflow_client.experiment_id(None, places)
    code = [sys.executable, "-c", KILLED, str(Path(__file__).parents[2]), experiment]
    assert subprocess.run(code, check=False).returncode == -9
    (run,) = runs(places)
    assert run.info.status == "RUNNING"
    return str(run.info.run_id)


def test_the_next_start_marks_a_killed_run_and_goes_on_with_its_curve(places: Places) -> None:
    """As a training does that goes on from its checkpoint of step 2."""
    killed = kill_a_training(places)
    train(places, Lesson(losses=(1.5, 1.2), first=3))
    after, before = runs(places)
    assert (before.info.run_id, before.info.status) == (killed, "FAILED")
    assert "was killed" in before.data.tags["error"]
    assert after.data.tags[tracking.CONTINUES] == killed
    assert curve(places, after) == {1: 3.0, 2: 2.0, 3: 1.5, 4: 1.2}


def test_one_that_begins_anew_continues_nothing(places: Places) -> None:
    kill_a_training(places)
    train(places, Lesson())
    after, _ = runs(places)
    assert tracking.CONTINUES not in after.data.tags
    assert curve(places, after) == dict(enumerate(LOSSES, 1))


def test_a_run_whose_process_lives_is_left_alone(places: Places) -> None:
    client = mlflow_client.connect(places)
    experiment = mlflow_client.experiment_id(client, places)
    mine = mlflow_client.process_tags()
    client.create_run(experiment, tags=mine)
    client.create_run(
        experiment, tags={**mine, mlflow_client.HOST: "another.host", mlflow_client.PROCESS: "1"}
    )
    reused = f"{mine[mlflow_client.STARTED]}0"  # long before
    dead = client.create_run(experiment, tags={**mine, mlflow_client.STARTED: reused})
    mlflow_client.fail_dead_runs(client, experiment)
    assert [run.info.run_id for run in runs(places) if run.info.status == "FAILED"] == [dead.info.run_id]


def test_of_several_processes_the_first_alone_has_a_run(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    trained: list[TrainingJob] = []
    tracking.train(replace(load_methods()["sft"], train=trained.append), job(places), places)
    assert trained[0].tracker is None
    assert runs(places) == []


# --- a server ---------------------------------------------------------------------------------------


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls to a server that is away are repeated at once."""
    monkeypatch.setenv(MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR.name, "0")
    monkeypatch.setenv(MLFLOW_HTTP_REQUEST_BACKOFF_JITTER.name, "0")


@pytest.fixture
def served(changed, mlflow_server, no_pauses, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A project whose MLflow is the server."""
    monkeypatch.chdir(changed.folder)
    monkeypatch.setenv(mlflow_client.ADDRESS, mlflow_server.address)
    Places("small", "tiny").mlflow_database.unlink(missing_ok=True)  # that of the tests before
    for name in ("base", "sft"):
        path = Places("small", "tiny").model(name)
        path.unlink()
        path.mkdir()
        (path / "weights").write_text(name)
    return Places("small", "tiny")


def register(registry: Registry, fingerprint: str) -> dict:
    results = Results(
        fingerprint,
        ["sft"],
        params={},
        metrics={"sft.codebleu": 0.5},
        hashes={},
        files=[registry.places.report],
        cards={"sft": "# The card"},
        students={TRAIN_STUDENTS: ["ann", "ben"], TEST_STUDENTS: ["cem"]},
    )
    return registration.register(registry, results)


@pytest.mark.slow
def test_a_server_keeps_runs_and_models_and_gives_them_back(served: Places) -> None:
    work = replace(job(served), output=served.model("sft"))
    tracking.train(method(Lesson()), work, served)
    registry = Registry(served)
    version = register(registry, "one")["sft"]
    client = MlflowClient(os.environ[mlflow_client.ADDRESS])
    training = client.get_run(version.tags[TRAINED_IN])
    assert training.info.artifact_uri.startswith("mlflow-artifacts:")
    assert (training.info.status, training.data.metrics["loss"]) == ("FINISHED", LOSSES[-1])
    folder = registry.folder(version)
    assert (folder / "adapter_model.safetensors").read_text() == "weights"
    assert (folder / "README.md").read_text() == "# The card"
    assert (folder.parent / "base" / "weights").read_text() == "base"
    assert not served.mlflow_database.exists()  # nor is there another memory of it here

    assert registry.forget("ann") == [registry.versions()[0]]
    registry.forget("cem")
    kept = {file.path for file in client.list_artifacts(version.run_id)}
    assert kept == {"base", "sft", "students.json"}  # the report may show a forgotten student's programs
    students = client.download_artifacts(version.run_id, "students.json", str(served.root))
    assert json.loads(Path(students).read_text()) == {TRAIN_STUDENTS: ["ben"], TEST_STUDENTS: []}


@pytest.mark.slow
def test_of_a_servers_versions_the_champion_is_served_first(served: Places, monkeypatch) -> None:
    registry = Registry(served)
    others = [register(registry, f"results {number}")["sft"] for number in range(2)]
    champion = register(registry, "best")["sft"]
    registry.make_champion(champion, "better")
    file = served.root / "bentos/catalog.json"
    catalog = CatalogFile([load("small")], file)

    def listed() -> set[int]:
        course = Catalog.load(file).courses["small"]
        assert course.champion == champion.number
        assert all((version.folder / "weights").exists() for version in course.versions.values())
        return set(course.versions)

    assert catalog.update()
    known = listed()
    assert champion.number in known
    assert not known & {other.number for other in others}
    while catalog.update():
        pass
    assert listed() >= {champion.number, *(other.number for other in others)}


@pytest.mark.slow
def test_what_is_needed_no_more_leaves_a_servers_store(served: Places, mlflow_server) -> None:
    registry = Registry(served)
    gone, kept = (register(registry, name)["sft"] for name in ("not needed", "needed"))
    why = {version.run_id: ["in use"] for version in registry.versions() if version != gone}
    unneeded = find_unneeded(registry, {**why, gone.run_id: []}, "", ())
    assert [version.number for version in unneeded.versions] == [gone.number]
    assert unneeded.size > 0
    unneeded.delete()

    def stored(version: Version) -> list[Path]:
        files = (path for path in mlflow_server.folder.rglob("*") if path.is_file())
        return [path for path in files if version.run_id in path.parts]

    assert gone.number not in [version.number for version in registry.versions()]
    assert stored(gone) == []
    assert {path.name for path in stored(kept)} >= {"weights", "students.json"}
    assert find_unneeded(registry, why, "", ()).runs == []
    (check,) = (check for check in checks() if check.name == "mlflow")
    assert (check.fine, check.words) == (True, f"{mlflow_server.address} answers")


@pytest.mark.slow
def test_a_training_outlives_its_server(served: Places, mlflow_server, capsys) -> None:
    """The server stops after the first step, and is back before the last one."""

    def lesson(training: TrainingJob) -> TrainingResult:
        run = training.tracker
        assert isinstance(run, tracking.TrainingRun)
        run.log(1, {"loss": 3.0})
        assert run._send()
        mlflow_server.stop()
        run.log(2, {"loss": 2.0})
        assert not run._send()
        mlflow_server.start()
        return Lesson((1.5,), 3)(training)

    tracking.train(method(lesson), job(served), served)
    (run,) = [run for run in runs(served) if run.data.tags["kind"] == "training"][:1]
    assert run.info.status == "FINISHED"
    assert curve(served, run) == {1: 3.0, 2: 2.0, 3: 1.5}
    assert capsys.readouterr().err.count("training goes on") == 1


@pytest.mark.slow
def test_a_training_ends_well_though_its_server_is_gone(served: Places, mlflow_server, capsys) -> None:
    def lesson(training: TrainingJob) -> TrainingResult:
        mlflow_server.stop()
        return Lesson()(training)

    work = job(served)
    result = tracking.train(method(lesson), work, served)
    mlflow_server.start()
    assert (result.folder / "adapter_model.safetensors").read_text() == "weights"
    said = capsys.readouterr().err
    assert "figures of run" in said
    assert f"keeps no model; it is in {work.output}" in said


def test_without_its_server_no_training_begins(settled, no_pauses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(settled.folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv(mlflow_client.ADDRESS, f"http://someone:secret@127.0.0.1:{port}")
    with pytest.raises(UnavailableError, match="MLFLOW_TRACKING_URI: MLflow at http://\\*\\*\\*@") as raised:
        train(Places("small", "tiny"), Lesson(error=AssertionError("it has begun")))
    assert "secret" not in str(raised.value)


# --- from a version to its training -----------------------------------------------------------------


@pytest.fixture
def registered(places: Places, changed, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.chdir(changed.folder)
    for name in ("base", "sft"):
        path = Places("small", "tiny").model(name)
        path.unlink()
        path.mkdir()
        (path / "weights").write_text(name)
    return Registry(Places("small", "tiny"))


def test_a_version_leads_to_the_training_that_made_it(registered: Registry) -> None:
    experiment = mlflow_client.experiment_id(None, registered.places)
    registered.client.create_experiment("other")
    work = replace(job(registered.places), output=registered.places.model("sft"))
    for weights in ("first", "second"):
        tracking.train(method(Lesson(weights=weights)), work, registered.places)
    (Path(work.output) / "adapter_model.safetensors").write_text("first")  # as DVC takes it from its cache
    version = register(registered, "one")["sft"]
    second, first = (run for run in runs(registered.places) if run.data.tags["kind"] == "training")
    assert version.tags[TRAINED_IN] == first.info.run_id != second.info.run_id
    link = f"#/experiments/{experiment}/runs/{first.info.run_id}/model-metrics"
    assert link in registered.client.get_model_version(registered.model, str(version.number)).description
    assert link in registered.client.get_run(version.run_id).data.tags[mlflow_client.NOTE]
    card = registered.client.download_artifacts(first.info.run_id, "sft/README.md")
    assert Path(card).read_text() == "# The card"


def test_a_version_without_a_training_says_so(registered: Registry) -> None:
    version = register(registered, "one")["sft"]
    assert version.tags[TRAINED_IN] == NO_TRAINING

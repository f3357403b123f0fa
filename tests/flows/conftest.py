"""A project folder of its own for each test: the repository's pipeline, its code, and a small course."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import polars as pl
import psutil
import pytest
import torch
import yaml
from filelock import FileLock
from safetensors.torch import load_file, save_file

from flows.mlflow_client import ADDRESS
from flows.pipeline import Pipeline
from flows.places import Places
from flows.repository import open_repository
from tutee_evaluator.schemas import BASELINE_METHODS, EXPOSURES
from tutee_serializer.card import StudentCard

REPOSITORY = Path(__file__).parents[2]
COURSE = """\
name: {name}
synthetic: true
logs: {{path: log.csv}}
columns: {{student: student, assignment: assignment, code: code, semester: semester, attempt: attempt}}
assignments: {{path: assignments}}
semesters: {{train: [one], test: [two]}}
"""
PARAMETERS = """\
# Mine.
courses:
  none: courses/none.yaml
presets: [tiny]
preset: tiny # small
methods: [base, para, sft, dpo, dapo]
warm_start: null
ingest: {}
grade: {}
serialize: {}
pairs: {}
engine: {}
report: {}
gate: {}
"""
# A model of a few thousand weights that trains for a step: every part of a retrain, in a minute.
FEW = {
    "model": {"hidden_size": 32, "layers": 1, "heads": 1, "kv_heads": 1, "head_size": 32, "mlp_size": 64},
    "tokenizer": {"vocabulary": 512},
    "base": {"tokens": 8000},
    "sft": {"steps": 1},
    "dpo": {"steps": 1},
    "dapo": {"steps": 1, "batch": 8, "micro_batch": 8},
    "calibrated": {"starts": 4, "samples": 2},
    "dialog": {"max_new_tokens": 64},
    "rollout": {"samples": 2},
}
METHODS = ("base", "para", "sft", "dpo", "dapo")
BASELINE_STAGES = [f"baseline-{name}" for name in BASELINE_METHODS]
ATTEMPTS = (
    "def double(n):\n    return n\n",
    "def double(n):\n    return n + 2\n",
    "def double(n):\n    return n * 2\n",
)


def commit(folder: Path, names: Iterable[str]) -> None:
    """`dvc commit --force` of several stages, whose lock file is written once for all."""
    with contextlib.chdir(folder), open_repository(Path()) as repo, repo.lock:
        found = {stage.addressing: stage for stage in repo.index.stages}
        stages = [found[name] for name in names]
        for stage in stages:
            stage.save()
            stage.commit()
        stages[0].dvcfile.dump_stages(stages, update_pipeline=False)


@pytest.fixture(scope="session", autouse=True)
def own_mlflow() -> Iterator[None]:
    """Keeps the tests away from the MLflow that the user of this machine may have named."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@dataclass(frozen=True)
class Project:
    """A folder in which `tutee` can be run."""

    folder: Path

    def tutee(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "flows.cli", *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def take_few_weights(self) -> None:
        """Writes the preset `few` and makes it the project's."""
        preset = yaml.safe_load((self.folder / "presets/tiny.yaml").read_text())
        for section, values in FEW.items():
            preset[section] |= values
        (self.folder / "presets/few.yaml").write_text(yaml.safe_dump(preset))
        self.edit("params.yaml", "presets: [tiny]\npreset: tiny", "presets: [few]\npreset: few")

    @staticmethod
    def write_weights(model: Path, text: str) -> None:
        """Weights that load, other ones for another text."""
        numbers = torch.tensor(list(text.encode()), dtype=torch.float32)
        save_file({"weight": numbers}, model / "adapter_model.safetensors")

    @staticmethod
    def weights(model: Path) -> str:
        """The text of `write_weights`."""
        return bytes(load_file(model / "adapter_model.safetensors")["weight"].byte().tolist()).decode()

    def commit(self, course: str, *more: str) -> None:
        """Tells DVC that what lies there is what the training stages, and `more` ones, have made."""
        trained = [f"{stage}@{course}-tiny" for stage in ("base", "sft", "para", "pairs", "dpo", "dapo")]
        rollouts = [f"rollout@{course}-tiny-{method}" for method in METHODS]
        commit(self.folder, (*trained, *rollouts, *more))

    def add_course(self, name: str, listed: bool = True) -> Path:
        """Writes courses/NAME, a class of eight in each of two semesters; returns the course file."""
        folder = self.folder / "courses" / name
        assignment = folder / "assignments" / "double"
        assignment.mkdir(parents=True)
        (assignment / "task.md").write_text("Write `double(n)`, which returns n times two.\n")
        (assignment / "solution.py").write_text(ATTEMPTS[-1])
        (assignment / "tests.yaml").write_text(
            "form: calls\ntests:\n"
            "  - {call: 'double(2)', returns: '4'}\n"
            "  - {call: 'double(-1)', returns: '-2'}\n"
        )
        rows = [
            {"student": f"{name}{semester}{number}", "assignment": "double", "semester": semester}
            | {"attempt": attempt, "code": code + f"# by hand {number}\n"}
            for semester in ("one", "two")
            for number in range(8)
            for attempt, code in enumerate(ATTEMPTS, 1)
        ]
        pl.DataFrame(rows).write_csv(folder / "log.csv")
        (folder / "course.yaml").write_text(COURSE.format(name=name))
        if listed:
            self.edit("params.yaml", "courses:\n", f"courses:\n  {name}: courses/{name}/course.yaml\n")
        return folder / "course.yaml"


def make_project(folder: Path) -> Project:
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", "dvc.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    shutil.copytree(REPOSITORY / "presets", folder / "presets")
    for package in ("grader", "serializer", "trainer", "evaluator"):
        inner = f"packages/{package}/tutee_{package}"
        shutil.copytree(REPOSITORY / inner, folder / inner, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "params.yaml").write_text(PARAMETERS)
    return Project(folder)


@pytest.fixture(scope="module")
def make() -> Callable[[Path], Project]:
    return make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with the course `small`, of which nothing has been run."""
    made = make_project(tmp_path)
    made.add_course("small")
    return made


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Has a project changed as the given function does, once for all processes that run tests.

    It is a copy of the one at `start`, or has the course `small`, of which nothing has been run.
    """
    mine = tmp_path_factory.getbasetemp()
    shared = mine.parent if os.environ.get("PYTEST_XDIST_WORKER") else mine

    def made(change: Callable[[Project], None], start: Path | None = None) -> Path:
        folder = shared / f"project-{change.__name__}"
        done = folder.with_suffix(".done")
        with FileLock(folder.with_suffix(".lock")):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                if start:
                    project = Project(shutil.copytree(start, folder))
                else:
                    folder.mkdir()
                    project = make_project(folder)
                    project.add_course("small")
                change(project)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="module")
def reported(made_once: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose course has a report, of the module's own.

    Its models are empty shells, and their rollouts stand for what trained ones would do: BASE writes
    nonsense, the others what the real students wrote. The rest is what the stages have made.
    """
    return Project(shutil.copytree(made_once(report), tmp_path_factory.mktemp("reported") / "project"))


def report(project: Project, course: str = "small") -> None:
    places = Places(course, "tiny")
    with contextlib.chdir(project.folder):
        run_stages(places, ["source", "ingest", "grade", "serialize", *BASELINE_STAGES])
        shells(places)
        project.commit(course)
        run_stages(places, ["report"])


@pytest.fixture(scope="module")
def retrained(made_once: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """`reported` after the flow has been run, of the module's own; what that said is in `data/said`."""
    folder = made_once(retrain, made_once(make_tables, made_once(report)))
    return Project(shutil.copytree(folder, tmp_path_factory.mktemp("retrained") / "project"))


def retrain(project: Project) -> None:
    done = project.tutee("retrain", "small")
    assert done.returncode == 0, done.stderr
    (project.folder / "data/said").write_text(done.stdout)


@pytest.fixture(scope="session")
def prefect_home(made_once: Callable[..., Path]) -> Path:
    """A home of Prefect in which nothing has run: the first server in a new one works ten seconds for it."""
    return made_once(make_tables, made_once(report)) / "data/.prefect"


def make_tables(project: Project) -> None:
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
    environment = {**os.environ, "PREFECT_HOME": str(project.folder / "data/.prefect")}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def report_on() -> Callable[[Project, str], None]:
    """Makes the report of a course of a project, as `reported` has one."""
    return report


def run_stages(places: Places, names: list[str]) -> list[str]:
    """Runs the stages of these names, such as `ingest` and `baseline-copy`; returns those that had to run."""
    pipeline = Pipeline.of(places)
    preset = {stage: [places.preset] for stage in ("serialize", "baseline", "report")}
    addresses = {
        name: "-".join([f"{stage}@{places.course}", *preset.get(stage, []), *of])
        for name in names
        for stage, *of in [name.split("-")]
    }
    return [name for name, address in addresses.items() if pipeline.run(address)]


def shells(places: Places) -> None:
    copied = pl.read_parquet(places.rollout("copy"))
    real = pl.read_parquet(places.submissions).select("submission_id", real="code")
    for method in METHODS:
        folder = places.model(method)
        folder.mkdir(parents=True)
        base = "." if method == "base" else "../base"
        StudentCard(method, places.course, base, "edits", "summary", 64, 16, "tiny").save(folder)
        Project.write_weights(folder, method)
        config = "config.json" if method == "base" else "adapter_config.json"
        (folder / config).write_text("{}")
        code = pl.lit("nonsense(") if method == "base" else pl.coalesce("real", "code")
        rollouts = copied.join(real, on="submission_id", how="left", maintain_order="left")
        rollouts = rollouts.with_columns(method=pl.lit(method), code=code).select(copied.columns)
        rollouts.write_parquet(places.rollout(method))
        shutil.copyfile(folder / "student.json", places.rollout_card(method))
        pl.DataFrame(schema=EXPOSURES).write_parquet(places.exposures(method))
    pl.DataFrame({"dialog_id": []}).write_parquet(places.pairs)


@pytest.fixture(scope="module")
def settled(made_once: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a file at the place of every output, which DVC takes for what the stages have made."""
    return Project(shutil.copytree(made_once(settle), tmp_path_factory.mktemp("settled") / "project"))


def settle(project: Project) -> None:
    with contextlib.chdir(project.folder):
        pipeline = Pipeline.of(Places("small", "tiny"))
        first, *others = pipeline.stages
        pipeline.run(first)
        for stage in others:
            for out in pipeline.stages[stage].outs:
                path = Path(str(out))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"made by {stage}")
    commit(project.folder, others)


@pytest.fixture
def changed(settled: Project, tmp_path: Path) -> Project:
    """A copy of `settled` that a test may change."""
    return Project(shutil.copytree(settled.folder, tmp_path / "copy"))


class MlflowServer:
    """`mlflow server` on a free port, as a user starts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if name != ADDRESS},
        )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.address}/health").status_code == 200:
                    return
            time.sleep(0.2)
        raise AssertionError("mlflow server did not start")

    def stop(self) -> None:
        """Ends it with the workers that it has started."""
        family = [*psutil.Process(self.process.pid).children(recursive=True), self.process]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(30)


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()

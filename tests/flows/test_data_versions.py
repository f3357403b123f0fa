"""Versions in git and a DVC remote, which is a folder here: kept, restored elsewhere, compared."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from flows.parameters import load
from flows.pipeline import Pipeline
from flows.places import Places
from flows.repository import open_repository
from flows.versions import next_commands
from tutee_serializer.ingest.privacy import load_key
from tutee_serializer.schemas import DIALOGS

from .conftest import Project, commit

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
PLACES = Places("small", "tiny")
REPORT = "report@small-tiny"
TAGS = ("one", "two")
KEPT = ("data", "models", "reports")
NOT_SHARED = {PLACES.key, PLACES.retrain_lock}


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def dvc(folder: Path, *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=folder, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def contents(folder: Path) -> dict[str, bytes]:
    """What a version consists of, by path."""
    files = (path for kept in KEPT for path in (folder / kept).rglob("*") if path.is_file())
    read = {path.relative_to(folder): path.read_bytes() for path in files}
    return {path.as_posix(): content for path, content in read.items() if path not in NOT_SHARED}


def write(out: Path, text: str) -> None:
    """Writes an output of a stage: a file, or a folder with one in it."""
    if out.suffix:
        out.write_text(text)
        return
    if out.is_file():  # as `settled` has it
        out.unlink()
    out.mkdir(exist_ok=True)
    (out / "file").write_text(text)


def make_version(project: Project, tag: str, energy: float) -> None:
    """Gives every stage of the project other results, and keeps them under a tag."""
    with contextlib.chdir(project.folder):
        pipeline = Pipeline.of(PLACES)
        first, *others = pipeline.stages
        pipeline.run(first)
        for stage in others:
            for out in pipeline.stages[stage].outs:
                write(Path(str(out)), f"made by {stage} for version {tag}")
        PLACES.metrics_json.write_text(json.dumps({"sft": {"energy": energy}}))
        PLACES.solved.write_text(f"step,solved\n1,{energy}\n")
        commit(Path(), others)
        with open_repository(Path()) as repo:
            repo.push()
    git(project.folder, "add", ".")
    git(project.folder, "commit", "--message", tag)
    git(project.folder, "tag", tag)


@pytest.fixture(scope="module", autouse=True)
def author() -> None:
    """Who commits, on a machine where git does not know."""
    with pytest.MonkeyPatch.context() as environment:
        for role in ("AUTHOR", "COMMITTER"):
            environment.setenv(f"GIT_{role}_NAME", "Teacher")
            environment.setenv(f"GIT_{role}_EMAIL", "teacher@kurssi.example")
        environment.delenv("TUTEE_KEY", raising=False)
        yield


@pytest.fixture(scope="module")
def origin(settled, tmp_path_factory) -> tuple[Project, Path, dict[str, dict[str, bytes]]]:
    """A project with two versions, its remote, and what each version consists of."""
    folder, remote = settled.folder, tmp_path_factory.mktemp("remote")
    (folder / ".gitignore").write_text((REPOSITORY / ".gitignore").read_text())
    with (folder / ".dvc/config").open("a") as config:
        config.write(f"    remote = store\n['remote \"store\"']\n    url = {remote}\n")
    git(folder, "init")
    with contextlib.chdir(folder):
        load_key(PLACES.key, ())
    made = {}
    make_version(settled, "one", 0.25)
    made["one"] = contents(folder)
    settled.edit("courses/small/log.csv", "by hand 3", "by hand again 3")
    make_version(settled, "two", 0.5)
    made["two"] = contents(folder)
    return settled, remote, made


@pytest.fixture(scope="module")
def clone(origin, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere") / "clone"
    git(folder.parent, "clone", str(origin[0].folder), str(folder))
    return folder


@pytest.fixture(params=TAGS)
def restored(request, clone) -> tuple[str, Path]:
    """A version's tag, and the clone after it was restored there."""
    git(clone, "checkout", request.param)
    dvc(clone, "pull", "--with-deps", REPORT)
    return request.param, clone


def test_a_version_comes_back_whole_and_nothing_of_it_is_out_of_date(origin, restored) -> None:
    tag, folder = restored
    assert contents(folder) == origin[2][tag]
    with contextlib.chdir(folder):
        pipeline = Pipeline.of(PLACES)
        assert list(pipeline.out_of_date()) == []
        assert [stage for stage in pipeline.stages if pipeline.run(stage)] == ["source@small"]
    assert contents(folder) == origin[2][tag]
    assert git(folder, "status", "--porcelain") == ""


def test_versions_differ(origin) -> None:
    _, _, made = origin
    assert {path for path in made["one"] if made["one"][path] == made["two"][path]} == {
        "data/small/forgotten.txt"
    }


def test_the_key_is_neither_in_git_nor_in_the_remote(origin) -> None:
    project, remote, _ = origin
    key = (project.folder / PLACES.key).read_bytes()
    assert not any(key in path.read_bytes() for path in remote.rglob("*") if path.is_file())
    assert "pseudonym.key" not in git(project.folder, "log", "--all", "--name-only")


def test_ingest_makes_no_second_key_beside_tables_from_elsewhere(clone) -> None:
    """The clone, in which the last version was restored."""
    run = Project(clone).tutee("ingest", "small")
    assert run.returncode == 2
    assert "copy data/pseudonym.key" in run.stderr
    assert not (clone / PLACES.key).exists()


def test_who_was_forgotten_elsewhere_stays_forgotten(clone) -> None:
    noted = clone / PLACES.forgotten_noted
    noted.write_text("0123456789abcdef\n")
    with contextlib.chdir(clone):
        assert Pipeline.of(PLACES).run("source@small")
    assert noted.read_text() == "0123456789abcdef\n"


def test_git_keeps_what_dvc_does_not(origin) -> None:
    project, _, _ = origin
    with contextlib.chdir(project.folder):
        outs = [out for stage in Pipeline.of(PLACES).stages.values() for out in stage.outs]
        paths = {str(out): f"{out}/inside" if out.fs.isdir(out.fs_path) else str(out) for out in outs}
        asked = subprocess.run(["git", "check-ignore", *paths.values()], capture_output=True, text=True)
        ignored = set(asked.stdout.split())
        assert {str(out): out.use_cache for out in outs} == {
            name: path in ignored for name, path in paths.items()
        }
        assert sorted(Path().rglob(".gitignore")) == [Path(".dvc/.gitignore"), Path(".gitignore")]


def test_metrics_and_plots_of_two_versions_are_compared(origin) -> None:
    folder = origin[0].folder
    metrics = json.loads(dvc(folder, "metrics", "diff", "one", "two", "--json"))
    assert metrics[str(PLACES.metrics_json)]["sft.energy"] == {"old": 0.25, "new": 0.5, "diff": 0.25}
    dvc(folder, "plots", "diff", "one", "two", "--targets", str(PLACES.solved), "--out", "dvc_plots")
    page = (folder / "dvc_plots/index.html").read_text()
    assert '"solved": "0.25"' in page and '"solved": "0.5"' in page
    assert git(folder, "status", "--porcelain") == ""


def test_an_experiment_runs_only_what_its_parameter_changes(origin, tmp_path: Path) -> None:
    git(tmp_path, "clone", str(origin[0].folder), "mine")
    folder = tmp_path / "mine"
    dvc(folder, "pull", "--with-deps", REPORT)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    run = subprocess.run(
        [sys.executable, "-m", "dvc", "exp", "run", "-S", "+gate.margin=0.02", "-n", "wide", REPORT],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert run.returncode == 0, run.stderr
    assert [line for line in run.stdout.splitlines() if line.startswith("Running stage")] == [
        "Running stage 'source@small':"
    ]
    assert "wide" in dvc(folder, "exp", "list")


@pytest.fixture
def workspace(origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone in which there are other results than git has."""
    git(tmp_path, "clone", str(origin[0].folder), "mine")
    monkeypatch.chdir(tmp_path / "mine")
    with Path("dvc.lock").open("a") as lock:
        lock.write("# other results\n")
    PLACES.dialogs.parent.mkdir(parents=True, exist_ok=True)
    dialogs = pl.DataFrame({"split": ["train", "test"], "semester": ["one", "two"]})
    pl.concat([pl.DataFrame(schema=DIALOGS), dialogs], how="diagonal").write_parquet(PLACES.dialogs)
    return Path.cwd()


def test_a_retrain_ends_in_one_change_to_commit_and_a_tag(workspace) -> None:
    Path("params.yaml").write_text(Path("params.yaml").read_text() + "# wider\n")
    keep, push = next_commands(load("small"), champion=8)
    subprocess.run(keep, shell=True, check=True, capture_output=True)
    assert git(workspace, "tag", "--points-at", "HEAD").split() == ["small-two-v8"]
    assert git(workspace, "status", "--porcelain") == ""
    assert push == "dvc push"
    assert next_commands(load("small"), champion=8) == []


def test_new_files_that_the_results_depend_on_are_committed_and_no_log(workspace) -> None:
    course = Path("courses/small/course.yaml")
    git(workspace, "rm", "--cached", str(course), "courses/small/log.csv")
    keep, _ = next_commands(load("small"), champion=None)
    assert str(course) in keep
    assert "log.csv" not in keep


def test_a_tag_that_is_taken_is_not_suggested(workspace) -> None:
    git(workspace, "tag", "small-two")
    keep, _ = next_commands(load("small"), champion=None)
    assert keep.endswith("git tag small-two-2")


def test_there_is_nothing_to_commit_where_git_is_not_used(project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    Path("dvc.lock").touch()
    assert next_commands(load("small"), champion=1) == []


def test_no_stage_is_looked_for_among_installed_packages(project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    Path(".venv/package").mkdir(parents=True)
    Path(".venv/package/dvc.yaml").write_text("stages: a broken file\n")
    assert "source@small" in Pipeline.of(PLACES).stages

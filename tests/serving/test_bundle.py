"""A Bento holds all that a champion needs, once, and names no student; it runs away from this repository."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from importlib.resources import files
from pathlib import Path

import httpx
import polars as pl
import pytest
import yaml

from serving import bundle
from serving.bundle import PACKAGES, build_bento, delete_bentos, requirements, write_context
from serving.catalog import Catalog, Course
from tutee_evaluator.engines import EngineConfig
from tutee_evaluator.engines.baselines.revisions import FILE as REVISIONS
from tutee_evaluator.engines.baselines.revisions import TABLE, load_revisions
from tutee_grader.errors import InputError
from tutee_serializer.card import StudentCard

SPY = Path(__file__).parent / "spy"
ENGINE = EngineConfig()


@pytest.fixture
def toy(catalog: Path, tmp_path: Path) -> Course:
    """The course of the catalog, whose models are copies that a test may change."""
    course = Catalog.load(catalog).courses["toy"]
    models = shutil.copytree(course.versions[7].folder.parent, tmp_path / "models")
    versions = {
        number: version.model_copy(update={"folder": models / version.folder.name})
        for number, version in course.versions.items()
    }
    return course.model_copy(update={"versions": versions})


def packed(toy: Course, folder: Path) -> tuple[Catalog, Path]:
    write_context("toy", toy, ENGINE, folder)
    return Catalog.load(folder / "student/catalog.json"), folder / "student"


def test_what_is_packed_needs_nothing_outside_it(toy: Course, tmp_path: Path) -> None:
    there, student = packed(toy, tmp_path / "context")
    course = there.courses["toy"]
    assert (course.champion, course.challenger, list(course.versions)) == (7, None, [7])
    assert course.versions[7].metrics == toy.versions[7].metrics
    folder = course.versions[7].folder
    assert StudentCard.load(folder).base_of(folder) == str(student / "base")
    for path in (folder, course.assignments):
        assert path.is_relative_to(student)
    assert {path.name for path in course.assignments.iterdir()} == {"double", "echo"}


def test_the_base_is_packed_once(toy: Course, tmp_path: Path) -> None:
    _, student = packed(toy, tmp_path / "context")
    weights = toy.versions[6].folder / "model.safetensors"
    same = [path for path in student.rglob("*.safetensors") if path.read_bytes() == weights.read_bytes()]
    assert same == [student / "base/model.safetensors"]


def test_packing_changes_no_file_of_the_model(toy: Course, tmp_path: Path) -> None:
    """Though what is packed are links to the same files, where that can be."""
    folder = toy.versions[7].folder
    before = {path: path.read_bytes() for path in folder.iterdir()}
    StudentCard("sft", "toy", str(toy.versions[6].folder), "edits", "summary", 1024, 160, "test").save(folder)
    before[folder / "student.json"] = (folder / "student.json").read_bytes()
    packed(toy, tmp_path / "context")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_base_alone_is_a_student_too(toy: Course, tmp_path: Path) -> None:
    there, student = packed(toy.model_copy(update={"champion": 6}), tmp_path / "context")
    assert there.courses["toy"].versions[6].method == "base"
    assert (student / "model/model.safetensors").exists()
    assert not (student / "base").exists()


@pytest.mark.parametrize("part", ["model/adapter_model.safetensors", "base/model.safetensors"])
def test_weights_that_were_altered_are_noticed(toy: Course, tmp_path: Path, part: str) -> None:
    there, student = packed(toy, tmp_path / "context")
    version = there.courses["toy"].versions[7]
    there.check(version)
    content = (student / part).read_bytes()
    (student / part).unlink()
    (student / part).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=f"{part.partition('/')[0]}: its files are not those"):
        there.check(version)


def test_whose_the_revisions_are_is_not_packed(toy: Course, tmp_path: Path) -> None:
    rows = [
        ("task", "x = 1\n", 0.0, "x = 2\n", 100.0, "s-ann"),
        ("task", "y = 1\n", 0.0, "y\n", 0.0, "s-ben"),
    ]
    table = pl.DataFrame(rows, schema=TABLE, orient="row")
    table.write_parquet(toy.versions[7].folder / REVISIONS)
    there, student = packed(toy, tmp_path / "context")
    assert not [path for path in student.rglob("*") if path.is_file() and b"s-ann" in path.read_bytes()]
    assert pl.read_parquet(student / "model" / REVISIONS).equals(table.with_columns(student=pl.lit("")))
    assert [one.next for one in load_revisions(student / "model")["task"]] == ["x = 2\n", "y\n"]
    there.check(there.courses["toy"].versions[7])
    assert pl.read_parquet(toy.versions[7].folder / REVISIONS).equals(table)


def test_a_missing_base_is_named(toy: Course, tmp_path: Path) -> None:
    card = StudentCard("sft", "toy", "nobody/no-such-model", "edits", "summary", 1024, 160, "test")
    card.save(toy.versions[7].folder)
    with pytest.raises(InputError, match="nobody/no-such-model"):
        packed(toy, tmp_path / "context")


def test_requirements_are_pinned_to_versions_that_an_index_has() -> None:
    lines = requirements(ENGINE)
    assert any(line.startswith("torch==") for line in lines)
    assert all("+" not in line and "tutee" not in line and "==" in line for line in lines)


@pytest.fixture(scope="module")
def built(catalog, tmp_path_factory):
    start = time.monotonic()
    toy = Catalog.load(catalog).courses["toy"]
    bento = build_bento("toy", toy, ENGINE, tmp_path_factory.mktemp("bentos") / "store")
    return bento, time.monotonic() - start


def test_a_bento_is_the_student_and_the_code_and_little_more(built, adapter):
    bento, seconds = built
    student = sum(file.stat().st_size for file in adapter.parent.rglob("*") if file.is_file())
    assert student < bento.size < student + 3_000_000
    assert seconds < 30
    folders = {entry.name for entry in (bento.folder / "src").iterdir() if entry.is_dir()}
    assert folders == {"serving", "student", "tutee_evaluator", "tutee_grader", "tutee_serializer"}
    assert bento.tag.startswith("tutee-toy:")
    assert not (bento.folder.parents[2] / bundle.BUILDING).exists()


def test_its_container_has_the_sandbox_and_no_telemetry(built):
    bento, _ = built
    containerfile = (bento.folder / "env/docker/Dockerfile").read_text()
    assert "bubblewrap" in containerfile
    assert "ARG BENTOML_DO_NOT_TRACK=True" in containerfile
    assert "USER bentoml" in containerfile


def test_of_each_of_the_last_versions_the_latest_bento_is_kept(built, tmp_path):
    """The one that was just built is the latest, though the clock has been set back since the others."""
    bento, _ = built
    description = yaml.safe_load((bento.folder / "bento.yaml").read_text())
    made = {"a": ("1", 5), "b": ("2", 6), "c": ("2", 7), "d": ("3", 8), "now": ("4", 2)}
    for name, (number, hour) in made.items():
        folder = tmp_path / "store/tutee-toy" / name
        folder.mkdir(parents=True)
        changes = {
            "version": name,
            "creation_time": f"2026-01-01T0{hour}:00:00+00:00",
            "labels": {**description["labels"], "version": number},
        }
        (folder / "bento.yaml").write_text(yaml.safe_dump({**description, **changes}))
    for keep, left in ((4, "acdnow"), (3, "cdnow"), (2, "dnow")):
        delete_bentos(tmp_path / "store", "tutee-toy:now", keep)
        there = sorted(path.name for path in (tmp_path / "store/tutee-toy").iterdir() if path.is_dir())
        assert "".join(there) == left


@pytest.fixture(scope="module")
def away(built, tmp_path_factory, free_port):
    """`bentoml serve` of a copy of the Bento, by hand, where this repository is not on Python's path.

    That takes the interpreter below the environment's: the environment's own has the repository installed.
    """
    folder, port = tmp_path_factory.mktemp("away"), free_port()
    bento = shutil.copytree(built[0].folder, folder / "bento")
    (folder / "cwd").mkdir()
    (folder / "home").mkdir()
    command = ["-m", "bentoml", "serve", str(bento), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        service = subprocess.Popen(
            [Path(sys.executable).resolve(), *command],
            cwd=folder / "cwd",
            env={
                "PATH": os.defpath,
                "HOME": str(folder / "home"),
                "PYTHONPATH": os.pathsep.join((str(SPY), sysconfig.get_path("purelib"))),
                "SPY_LOG": str(folder / "spy"),
                "OMP_NUM_THREADS": "1",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    said = folder / "log"
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            deadline = time.monotonic() + 120
            while True:
                assert service.poll() is None and time.monotonic() < deadline, said.read_text()
                try:
                    ready = client.get("/readyz")
                    if ready.is_success:
                        break
                except httpx.HTTPError:
                    pass
                time.sleep(0.1)
            answer = client.post("/next_submission", json={"assignment": "double", "temperature": 0})
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(60)
    return ready.json(), answer, said.read_text(), (folder / "spy").read_text().splitlines()


@pytest.mark.slow
def test_a_bento_runs_away_from_this_repository(away, trajectory) -> None:
    ready, answer, said, _ = away
    assert ready["courses"]["toy"]["model"] == "tutee-toy-v7", said
    assert answer.json()["samples"][0]["code"] == trajectory[0]


@pytest.mark.slow
def test_a_bento_that_is_served_by_hand_calls_nobody(away) -> None:
    """Though nothing in its environment turns telemetry off."""
    *_, spy = away
    assert spy  # it looks itself up
    assert [line for line in spy if not line.endswith(("'127.0.0.1'", "'0.0.0.0'"))] == []


def test_the_hash_changes_with_the_code_of_a_bento(tmp_path, monkeypatch):
    copies = {name: shutil.copytree(str(files(name)), tmp_path / name) for name in PACKAGES}
    monkeypatch.setattr(bundle, "files", copies.__getitem__)
    before = bundle.code_hash()
    assert bundle.code_hash() == before
    page = copies["serving"] / "page/index.html"
    page.write_text(page.read_text() + " ")
    assert bundle.code_hash() != before

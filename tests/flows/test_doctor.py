"""`tutee doctor`: a line for each check, also without a terminal, and the way out of what is unfit."""

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from flows.doctor import checks
from flows.places import Places
from flows.registry import Registry

from .conftest import Project

ALL = ("python", "packages", "machine", "disk", "accelerator", "sandbox", "mlflow", "prefect", "dvc remote")


def doctor(project: Project, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "flows.cli", "doctor"]
    return subprocess.run(
        command, cwd=project.folder, capture_output=True, text=True, env={**os.environ, **environment}
    )


def verdicts(run: "subprocess.CompletedProcess[str]") -> dict[str, list[tuple[bool, str]]]:
    """Whether each check went well, and what it said, by its name."""
    found: dict[str, list[tuple[bool, str]]] = {}
    for line in run.stdout.splitlines():
        name = next(name for name in ALL if line[4:].startswith(name))
        found.setdefault(name, []).append((line.startswith("ok "), line[4 + len(name) :].strip()))
    return found


def checked(project: Project) -> dict[str, list[tuple[bool, str]]]:
    """As `verdicts`, of the checks alone, without the command."""
    found: dict[str, list[tuple[bool, str]]] = {}
    with contextlib.chdir(project.folder):
        for check in checks():
            found.setdefault(check.name, []).append((check.fine, check.words))
    return found


@pytest.fixture(scope="module")
def away() -> str:
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_each_check_says_a_line_without_a_terminal(project: Project) -> None:
    run = doctor(project)
    assert run.returncode == 0, run.stdout + run.stderr
    found = verdicts(run)
    assert tuple(found) == ALL
    assert all(fine for lines in found.values() for fine, _ in lines)
    assert not (project.folder / "mlflow.db").exists()


def test_a_version_that_breaks_prefect_is_found(project: Project, tmp_path: Path) -> None:
    installed = tmp_path / "installed" / "sqlalchemy-2.1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: SQLAlchemy\nVersion: 2.1.0\n")
    run = doctor(project, PYTHONPATH=str(installed.parent))
    assert run.returncode == 3
    assert run.stderr.startswith("tutee: unfit: packages;")
    ((fine, words),) = verdicts(run)["packages"]
    assert not fine
    assert words.startswith("sqlalchemy is 2.1.0; tutee was tried with <2.1; ")


def test_versions_that_differ_from_the_pins_are_found_all_at_once(project: Project) -> None:
    pins = ["polars==0.1", "Jinja2==0.2", "not-installed==1", "typer==0.3 ; python_version < '3'"]
    (project.folder / "constraints.txt").write_text("\n".join(pins))
    words = [words for fine, words in checked(project)["packages"] if not fine]
    assert [line.split()[0] for line in words] == ["polars", "jinja2"]
    assert all("make install" in line for line in words)


def test_services_that_are_away_are_named_with_the_way_out(project: Project, away: str) -> None:
    run = doctor(project, MLFLOW_TRACKING_URI=away, PREFECT_API_URL=f"{away}/api")
    assert run.returncode == 3
    assert run.stderr.startswith("tutee: unfit: mlflow, prefect;")
    found = verdicts(run)
    for name, variable in (("mlflow", "MLFLOW_TRACKING_URI"), ("prefect", "PREFECT_API_URL")):
        ((fine, words),) = found[name]
        assert not fine
        assert variable in words and away in words and "unset the variable" in words


def test_the_remote_of_data_is_looked_for(project: Project, tmp_path: Path) -> None:
    remote = tmp_path / "store"
    with (project.folder / ".dvc/config").open("a") as config:
        config.write(f"    remote = store\n['remote \"store\"']\n    url = {remote}\n")
    assert checked(project)["dvc remote"] == [
        (False, f"{remote}: nothing is there; mount its disk; before the first `dvc push`, make it")
    ]
    remote.mkdir()
    assert checked(project)["dvc remote"] == [(True, f"{remote} can be read")]


def test_a_database_of_another_version_of_mlflow_is_said_with_the_way_out(project: Project) -> None:
    Registry(Places("small", root=project.folder))
    with contextlib.closing(sqlite3.connect(project.folder / "mlflow.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = 'another'")
        database.commit()
    run = doctor(project)
    assert run.returncode == 3
    ((fine, words),) = verdicts(run)["mlflow"]
    assert not fine
    assert words.startswith(
        "mlflow.db: another version of MLflow wrote it; copy it, then `.venv/bin/mlflow db "
    )

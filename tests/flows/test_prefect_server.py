"""`tutee retrain` and Prefect: a server of the user's own, one that is away, and runs that were killed."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.schedule import Plan, deployments
from flows.server import prefect

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(prefect_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `prefect server start`, as a team has it."""
    home = shutil.copytree(prefect_home, tmp_path_factory.mktemp("server") / "home")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-ui"]
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    with closing(httpx.Client(transport=httpx.HTTPTransport(retries=12), timeout=60)) as client:
        client.get(f"http://127.0.0.1:{port}/api/health")
    yield f"http://127.0.0.1:{port}/api"
    process.terminate()
    process.wait(30)


def retrain(project, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "flows.cli", "retrain", "small"]
    return subprocess.run(
        command, cwd=project.folder, env={**os.environ, **environment}, capture_output=True, text=True
    )


def ask(address: str, path: str, **body: Any) -> Any:
    """What the API answers, once its database is not locked."""
    while (answer := httpx.post(f"{address}/{path}", json=body, timeout=30)).status_code == 503:
        time.sleep(0.2)
    return answer.raise_for_status().json()


def runs(address: str) -> list[tuple[str, str]]:
    found = ask(address, "flow_runs/filter", sort="START_TIME_ASC")
    return [(run["name"], run["state_type"]) for run in found]


def test_a_server_of_the_users_own_keeps_the_runs_and_crashes_those_that_were_killed(
    reported, server: str
) -> None:
    command = [sys.executable, "-m", "flows.cli", "retrain", "small"]
    killed = subprocess.Popen(
        command,
        cwd=reported.folder,
        env={**os.environ, "PREFECT_API_URL": server},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.stdout
    assert any("source" in line for line in killed.stdout)  # reads until that line
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = retrain(reported, PREFECT_API_URL=server)
    assert done.returncode == 0, done.stderr
    assert runs(server) == [("small tiny", "CRASHED"), ("small tiny", "COMPLETED")]
    assert not (reported.folder / "data/.prefect").exists()


def test_a_server_that_is_away_is_said_and_no_bug(reported) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        away = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
    done = retrain(reported, PREFECT_API_URL=away)
    assert done.returncode == 3
    assert "PREFECT_API_URL" in done.stderr.splitlines()[-1]
    assert away in done.stderr.splitlines()[-1]


def test_a_server_named_by_prefects_own_configuration_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    (tmp_path / "profiles.toml").write_text(
        'active = "teachers"\n[profiles.teachers]\nPREFECT_API_URL = "http://prefect.example/api"\n'
    )
    with prefect(tmp_path / "unused") as address:
        assert address == "http://prefect.example/api"
    assert not (tmp_path / "unused").exists()


def test_a_server_of_our_own_forgets_a_run_after_a_month(
    prefect_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = shutil.copytree(prefect_home, tmp_path / "home")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(home))
    with prefect(home) as address:
        flow = ask(address, "flows/", name="watch")
        for days in ("40", "20"):
            ask(address, "flow_runs/", flow_id=flow["id"], name=days, state={"type": "COMPLETED"})
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        database.execute("UPDATE flow_run SET end_time = datetime('now', '-' || name || ' days')")
        database.commit()
    with prefect(home) as address:
        while len(names := [name for name, _ in runs(address)]) == 2:
            time.sleep(0.2)
    assert names == ["20"]


def prefect_command(project, server: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    environment = {**os.environ, "PREFECT_API_URL": server}
    done = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_prefect_yaml_deploys_to_a_work_pool_what_a_schedule_serves(reported, server: str) -> None:
    (reported.folder / "prefect.yaml").write_text(
        (REPOSITORY / "prefect.yaml").read_text().replace("demo", "small")
    )
    shutil.copytree(REPOSITORY / "flows", reported.folder / "flows")
    prefect_command(reported, server, "work-pool", "create", "tutee", "--type", "process")
    prefect_command(reported, server, "deploy", "--all")
    deployed = ask(server, "deployments/filter")
    plan = Plan("small", "tiny", "0 3 * * *", timedelta(minutes=5))
    flows = ask(server, "flows/filter")
    names = {flow["id"]: flow["name"] for flow in flows}

    def given(parameters: dict) -> dict:
        return {name: value for name, value in parameters.items() if value}

    def times(schedule: dict) -> str | float:
        return schedule.get("cron") or schedule["interval"]

    there = {
        names[one["flow_id"]]: (
            one["name"],
            given(one["parameters"]),
            [times(part["schedule"]) for part in one["schedules"]],
            one["global_concurrency_limit"]["limit"],
        )
        for one in deployed
    }
    served = {
        one.flow_name: (
            one.name,
            given(one.parameters),
            [times(part.schedule.model_dump(mode="json")) for part in one.schedules or []],
            one.concurrency_limit,
        )
        for one in deployments(plan)
    }
    assert there == served
    before = runs(server).count(("small tiny", "COMPLETED"))
    prefect_command(reported, server, "deployment", "run", "watch/small")
    prefect_command(reported, server, "worker", "start", "--pool", "tutee", "--run-once")
    assert runs(server).count(("small tiny", "COMPLETED")) == before + 1

"""`tutee schedule`: Prefect deployments, served by a real process against a real Prefect server."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from flows.places import Places
from flows.registry import Registry

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def until(what: Callable[[], Any], seconds: float = 120) -> Any:
    """The first value of `what` that is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := what():
            return value
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds} s")


@dataclass
class Schedule:
    """A schedule at work in a project, and what Prefect's API says of it."""

    folder: Path
    process: "subprocess.Popen[bytes]"
    address: str

    def ask(self, path: str, **body: Any) -> Any:
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.post(f"{self.address}/{path}", json=body, timeout=30)
            return answer.json() if answer.is_success else None

    def deployment(self, name: str) -> str:
        found = until(lambda: self.ask("deployments/filter"))
        flows = {flow["id"]: flow["name"] for flow in self.ask("flows/filter")}
        return next(one["id"] for one in found if f"{flows[one['flow_id']]}/{one['name']}" == name)

    def run(self, name: str, **parameters: Any) -> dict[str, Any]:
        """Starts a run of a deployment and returns it once it has ended."""
        begun = self.ask(f"deployments/{self.deployment(name)}/create_flow_run", parameters=parameters)
        return self.ended(begun["id"])

    def ended(self, run_id: str) -> dict[str, Any]:
        def final() -> Any:
            found = httpx.get(f"{self.address}/flow_runs/{run_id}", timeout=30).json()
            return found if found["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        return until(final)  # type: ignore[no-any-return]


@contextlib.contextmanager
def scheduled(folder: Path, *options: str, **environment: str) -> Iterator[Schedule]:
    port = free_port()
    command = [sys.executable, "-m", "flows.cli", "schedule", *options, "--port", str(port)]
    with (folder / "schedule.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env={**os.environ, **environment}
        )
    address = environment.get("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
    try:
        yield Schedule(folder, process, address)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="module")
def schedule(reported) -> Iterator[Schedule]:
    with scheduled(reported.folder, "small", "--every", "3600") as running:
        yield running


def test_a_deployment_retrains_and_promotes(schedule: Schedule) -> None:
    run = schedule.run("retrain/small")
    assert run["state_name"] == "Completed", run["state"]["message"]
    assert run["name"] == "small tiny"
    champion = Registry(Places("small", "tiny", schedule.folder)).champion()
    assert champion.method in ("sft", "dpo", "dapo")

"""`tutee schedule`: Prefect deployments, served by a real process against a real Prefect server."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import polars as pl
import psutil
import pytest

from flows.places import Places
from flows.registry import Registry
from flows.server import prefect

from .results import packed_version

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def until(what: Callable[[], Any], seconds: float = 300) -> Any:
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
        """What the API finds; None while it does not answer."""
        with contextlib.suppress(httpx.TransportError):
            return self.post(path, body, timeout=30)

    def post(self, path: str, body: dict[str, Any], timeout: float) -> Any:
        """What the API answers; None where its database is locked: it has done nothing then."""
        answer = httpx.post(f"{self.address}/{path}", json=body, timeout=timeout)
        return None if answer.status_code == 503 else answer.raise_for_status().json()

    def deployment(self, name: str) -> str:
        """The id of a deployment, once it is served."""

        def found() -> str | None:
            flows = {flow["id"]: flow["name"] for flow in self.ask("flows/filter") or []}
            there = self.ask("deployments/filter") or []
            return next(
                (one["id"] for one in there if f"{flows.get(one['flow_id'])}/{one['name']}" == name), None
            )

        return str(until(found))

    def run(self, name: str, **parameters: Any) -> dict[str, Any]:
        """Starts a run of a deployment and returns it once it has ended."""
        return self.ended(self.start(name, **parameters))

    def start(self, name: str, **parameters: Any) -> str:
        """Starts a run of a deployment, once, and returns its id."""
        path = f"deployments/{self.deployment(name)}/create_flow_run"
        begun = until(lambda: self.post(path, {"parameters": parameters}, timeout=300))
        return str(begun["id"])

    def started(self, flow: str, number: int) -> dict[str, Any] | None:
        """The run of a flow that started as the first, second, ... one, if there is one."""
        begun = {"state": {"type": {"not_any_": ["SCHEDULED", "PENDING"]}}}
        found = self.ask(
            "flow_runs/filter", flow_runs=begun, flows={"name": {"any_": [flow]}}, sort="START_TIME_ASC"
        )
        return found[number - 1] if len(found or []) >= number else None

    def ended(self, run_id: str) -> dict[str, Any]:
        def final() -> Any:
            found = self.ask("flow_runs/filter", flow_runs={"id": {"any_": [run_id]}}) or [{}]
            ended = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
            return found[0] if found[0].get("state_type") in ended else None

        return until(final)  # type: ignore[no-any-return]


@contextlib.contextmanager
def scheduled(folder: Path, *options: str) -> Iterator[Schedule]:
    port = free_port()
    command = [sys.executable, "-m", "flows.cli", "schedule", *options, "--port", str(port)]
    often = {
        **os.environ,
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }  # seconds, in place of ten
    with (folder / "schedule.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=often)
    try:
        yield Schedule(folder, process, f"http://127.0.0.1:{port}/api")
    finally:
        process.terminate()
        assert process.wait(60) is not None


@pytest.fixture(scope="module")
def schedule(reported, prefect_home: Path) -> Iterator[Schedule]:
    shutil.copytree(prefect_home, reported.folder / "data/.prefect")
    with scheduled(reported.folder, "small", "--every", "3600") as running:
        yield running


def test_a_deployment_retrains_and_promotes(schedule: Schedule) -> None:
    run = schedule.run("retrain/small")
    assert run["state_name"] == "Completed", run["state"]["message"]
    assert run["name"] == "small tiny"
    champion = Registry(Places("small", "tiny", schedule.folder)).champion()
    assert champion.method in ("sft", "dpo", "dapo")


def test_a_deployment_plays_the_experiment_of_a_file(schedule: Schedule) -> None:
    """The project's students are no models, so it comes as far as to read what is wrong with the file."""
    file = schedule.folder / "one_policy.yaml"
    file.write_text("course: small\nstudent: sft\npolicies: {silent: none}\n")
    run = schedule.run("experiment/small", file=file.name)
    assert run["state_type"] == "FAILED"
    assert "one_policy.yaml: `policies`" in run["state"]["message"]


def test_a_look_that_finds_nothing_new_starts_nothing(schedule: Schedule) -> None:
    run = schedule.run("watch/small")
    assert (run["state_name"], run["state"]["message"]) == ("Completed", "nothing new")


def test_a_rollback_that_cannot_be_says_why(schedule: Schedule) -> None:
    """The champion is the first one, if there is one."""
    run = schedule.run("rollback/small", because="students complain")
    assert run["state_type"] == "FAILED"
    assert "no version is champion yet" in run["state"]["message"] or "first" in run["state"]["message"]


def test_a_command_beside_it_uses_its_server(schedule: Schedule) -> None:
    with contextlib.chdir(schedule.folder), prefect(Places("small").prefect) as address:
        assert address == schedule.address


def test_a_second_schedule_of_the_folder_is_refused(schedule: Schedule) -> None:
    until(lambda: schedule.ask("deployments/filter"))
    command = [sys.executable, "-m", "flows.cli", "schedule", "small"]
    second = subprocess.run(command, cwd=schedule.folder, capture_output=True, text=True)
    assert second.returncode == 3
    assert f"process {schedule.process.pid}" in second.stderr


class Inbox(BaseHTTPRequestHandler):
    """Takes in what a webhook sends."""

    received: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.received.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


SAVE = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock as Webhook
body = {"text": "{{subject}} | {{body}}"}
Webhook(name="teachers", url=sys.argv[1], method="POST", json_data=body).save("teachers")
"""


def test_a_failure_names_the_stage_its_cause_and_the_way_on_and_is_told(schedule: Schedule) -> None:
    inbox = ThreadingHTTPServer(("127.0.0.1", 0), Inbox)
    threading.Thread(target=inbox.serve_forever, daemon=True).start()
    until(lambda: schedule.ask("deployments/filter"))
    save = [sys.executable, "-c", SAVE, f"http://127.0.0.1:{inbox.server_port}/"]
    environment = {**os.environ, "PREFECT_API_URL": schedule.address}
    subprocess.run(save, check=True, env=environment, cwd=schedule.folder)
    log = schedule.folder / "courses/small/log.csv"
    whole = log.read_text()
    log.write_text(whole.replace("student,", "pupil,", 1))
    try:
        run = schedule.run("retrain/small", course="small", preset="tiny", notify="custom-webhook/teachers")
        until(lambda: Inbox.received)  # Prefect tells once it has recorded the state
    finally:
        log.write_text(whole)
        inbox.shutdown()
    message = run["state"]["message"]
    assert run["state_type"] == "FAILED"
    for part in (
        "stage ingest@small",
        "columns found in log.csv",
        "`tutee retrain small --preset tiny` goes on",
    ):
        assert part in message
    (told,) = Inbox.received
    assert "tutee retrain: Failed | small tiny: " in told
    assert "stage ingest@small" in told


def at_work(process: psutil.Process) -> list[psutil.Process] | None:
    """The processes that a schedule has started, once one of them runs a flow."""
    children = process.children(recursive=True)
    return children if any("flows.server" not in child.cmdline() for child in children) else None


def test_a_killed_schedule_leaves_no_process(schedule: Schedule) -> None:
    """Last, because it ends the schedule, and with it a run that has begun."""
    schedule.start("retrain/small")
    process = psutil.Process(schedule.process.pid)
    children = until(lambda: at_work(process))
    schedule.process.kill()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


# --- semesters that arrive ---------------------------------------------------------------------------------

ARRIVING = """\
name: arriving
synthetic: true
logs: {path: logs}
columns:
  {student: student, assignment: assignment, code: code, semester: semester, timestamp: submitted_at,
   score: score}
assignments: {path: assignments}
semesters: {train: all, test: latest}
"""
SEMESTERS = ("2024-autumn", "2025-spring", "2025-autumn")


@pytest.fixture
def arriving(tmp_path: Path, make):
    """A project with a course into whose folder of logs nothing has come yet."""
    project = make(tmp_path / "project")
    course = project.folder / "courses/arriving"
    shutil.copytree(REPOSITORY / "courses/demo/assignments", course / "assignments")
    (course / "logs").mkdir()
    (course / "course.yaml").write_text(ARRIVING)
    project.take_few_weights()
    project.edit("params.yaml", "none: courses/none.yaml", "arriving: courses/arriving/course.yaml")
    project.edit("params.yaml", "methods: [base, para, sft, dpo, dapo]", "methods: [base, sft]")
    project.edit("params.yaml", "gate: {}", "gate: {min_coverage: 0, min_compiling: 0, max_unreadable: 1}")
    return project


def simulate(semester: str, log: Path) -> None:
    """Writes a semester of the demo class, of new students, of whom none is real."""
    simulator, seed = str(REPOSITORY / "courses/demo/simulator"), str(SEMESTERS.index(semester))
    part = log.with_name(f".{log.name}")  # an export is renamed when it is whole
    options = ["--out", str(part), "--seed", seed, "--semester", f"{semester}=8"]
    subprocess.run([sys.executable, simulator, *options], check=True, stdout=subprocess.DEVNULL)
    whole = pl.read_csv(part, infer_schema=False, encoding="utf8-lossy")
    whole.with_columns(pl.format(f"{semester}-{{}}", "student").alias("student")).write_csv(part)
    part.rename(log)


@pytest.mark.long
def test_semesters_that_arrive_are_retrained_on_and_decided_with_nobody_touching_anything(arriving) -> None:
    logs = arriving.folder / "courses/arriving/logs"
    tested = []
    with scheduled(arriving.folder, "arriving", "--every", "30") as schedule:
        for number, semester in enumerate(SEMESTERS, 1):
            simulate(semester, logs / f"{semester}.csv")
            run = schedule.ended(until(partial(schedule.started, "retrain", number))["id"])
            if number == 1:
                assert run["state_type"] == "FAILED"
                assert "`semesters.train: all` leaves nothing to train on" in run["state"]["message"]
                continue
            assert run["state_name"] in ("Completed", "Refused"), run["state"]["message"]
            registry = Registry(Places("arriving", "few", arriving.folder))
            newest = registry.versions()[-1]
            tested.append((newest.tags["semesters.train"], newest.tags["semesters.test"]))
            assert (newest.tags["gate.outcome"] == "passed") == (run["state_name"] == "Completed")
            assert packed_version(registry.places) == registry.champion().number
    assert tested == [("2024-autumn", "2025-spring"), ("2024-autumn, 2025-spring", "2025-autumn")]

"""What breaks around a retrain: disks, databases, servers, clocks, others at work; and the run after that.

Each fault is a real one: a file system that is full, a server that refuses connections, a lock that is held.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR
from urllib3.util.retry import Retry

from flows import history, mlflow_client, processes, release
from flows.cli import main
from flows.mlflow_client import ADDRESS
from flows.parameters import load
from flows.pipeline import Pipeline
from flows.places import Places
from flows.registry import CHAMPION, PROMOTED, Registry
from flows.server import prefect
from tutee_evaluator.metrics import METRICS
from tutee_grader.errors import UnavailableError
from tutee_grader.files import read_table

from .results import packed_version

pytestmark = pytest.mark.slow

RETRAIN = [sys.executable, "-m", "flows.cli", "retrain", "small"]


@pytest.fixture
def fresh(reported, prefect_home: Path, tmp_path: Path):
    """A project of which nothing is registered."""
    copy = shutil.copytree(reported.folder, tmp_path / "project")
    shutil.copytree(prefect_home, copy / "data/.prefect")
    return type(reported)(copy)


def registered(project) -> list[str]:
    return [version.method for version in Registry(Places("small", "tiny", project.folder)).versions()]


ADAPTERS = ["para", "sft", "dpo", "dapo"]


def start(project, command: list[str] = RETRAIN, **environment: str) -> "subprocess.Popen[str]":
    # What a client of MLflow in this process has set is not for others.
    mine = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_HTTP")}
    return subprocess.Popen(
        command,
        cwd=project.folder,
        env={**mine, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until_it_says(process: "subprocess.Popen[str]", words: str) -> str:
    """What a process has said, to the line that holds `words`."""
    said = ""
    assert process.stdout
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it ended without saying {words!r}: {said}")


def failed_clearly(done: "subprocess.CompletedProcess[str]", *parts: str) -> None:
    """Ended with 3 and one message, which has all `parts`."""
    assert done.returncode == 3, done.stderr
    message = done.stderr[done.stderr.rindex("tutee: ") :]
    assert all(part in message for part in parts), done.stderr
    assert "Traceback" not in done.stderr


# --- disks ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or subprocess.run(["mount", *options, folder], capture_output=True).returncode != 0:
        pytest.skip("mounting a file system takes root, in a container that allows it")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.long
def test_a_disk_that_fills_up_while_registering(fresh) -> None:
    mlruns = fresh.folder / "mlruns"
    with mounted(mlruns, "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        failed_clearly(fresh.tutee("retrain", "small"), "the disk is full", "free some space")
        subprocess.run(["mount", "-o", "remount,size=64m", mlruns], check=True)
        done = fresh.tutee("retrain", "small")
        assert done.returncode == 0, done.stderr
        assert registered(fresh) == ADAPTERS


def test_a_folder_that_is_read_only(retrained) -> None:
    reports = retrained.folder / "reports"
    with mounted(reports, "--bind", reports):
        subprocess.run(["mount", "-o", "remount,bind,ro", reports], check=True)
        done = retrained.tutee("retrain", "small")
    failed_clearly(done, "reports: cannot be written (Read-only file system)", "fix")


def test_a_project_that_is_read_only_but_for_the_folders_inside(retrained) -> None:
    """Where mlflow.db and dvc.lock lie."""
    folder = retrained.folder
    with contextlib.ExitStack() as stack:
        stack.enter_context(mounted(folder, "--bind", folder))
        for name in ("data", "models", "reports", "mlruns", "bentos", ".dvc"):
            stack.enter_context(mounted(folder / name, "--bind", folder / name))
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        done = retrained.tutee("retrain", "small")
    failed_clearly(done, ".: cannot be written (Read-only file system)", "fix")


def test_what_dvc_was_cut_short_in_writing_is_written_anew(
    retrained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill or a full disk leaves it."""
    monkeypatch.chdir(retrained.folder)
    for use in (lambda pipeline: pipeline.run("source@small"), Pipeline.out_of_date):
        Path(".dvc/tmp/rwlock").write_text('{"write": {')
        use(Pipeline.of(Places("small", "tiny")))
        json.loads(Path(".dvc/tmp/rwlock").read_text())


@pytest.mark.parametrize("use", ["write", "read"])
def test_a_process_that_was_given_the_id_of_a_killed_one_holds_up_nothing(
    retrained, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    """DVC's note names this very process, as another command: at work, or since before it started."""
    monkeypatch.chdir(retrained.folder)
    note, process = Path(".dvc/tmp/rwlock"), {"pid": os.getpid(), "cmd": "dvc repro"}
    output = str(Path("data/small/source").resolve())

    def run_source() -> None:
        note.write_text(json.dumps({use: {output: process if use == "write" else [process]}}))
        os.utime(note, (written, written))
        Pipeline.of(Places("small", "tiny")).run("source@small")

    written = time.time()
    with pytest.raises(UnavailableError, match=f"PID {os.getpid()}.*dvc repro"):
        run_source()
    written = psutil.Process().create_time() - 60
    run_source()


# --- databases --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def has_open(process: "subprocess.Popen[str]", file: Path) -> bool:
    """Whether a process, or one that it has started, has a file open."""
    assert process.poll() is None
    started = psutil.Process(process.pid)
    family = [started, *started.children()]
    return any(opened.path == str(file) for member in family for opened in member.open_files())


def test_a_locked_database_is_waited_for(retrained) -> None:
    database = retrained.folder / "mlflow.db"
    with locked(database):
        process = start(retrained, [*RETRAIN[:-2], "status", "small"])
        while not has_open(process, database):
            pass
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "champion    tutee-small version" in said


def test_nothing_of_a_killed_status_goes_on(retrained) -> None:
    process = start(retrained, [*RETRAIN[:-2], "status", "small"])
    while not (beside := psutil.Process(process.pid).children()):
        pass
    process.kill()
    process.communicate()
    assert not psutil.wait_procs(beside, timeout=60)[1]


def test_a_database_that_stays_locked_is_named(retrained, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(retrained.folder)
    monkeypatch.setattr(mlflow_client, "LOCKED_S", 0.1)
    monkeypatch.setattr("sys.argv", ["tutee", "status", "small"])
    with locked(retrained.folder / "mlflow.db"), pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 3
    assert "database is locked" in said and "mlflow.db" in said and "fuser" in said
    assert "Traceback" not in said
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "champion" in capsys.readouterr().out


# --- servers ----------------------------------------------------------------------------------------------


class Proxy:
    """A port that leads to a server while it is open, and where nobody listens otherwise."""

    def __init__(self, port: int) -> None:
        self.to = port
        self._through: list[socket.socket] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def refuse_one(self) -> None:
        """Waits for a caller, and hangs up."""
        with socket.create_server(("127.0.0.1", self.port)) as listening:
            listening.accept()[0].close()

    @contextlib.contextmanager
    def forward(self) -> Iterator[None]:
        listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, args=[listening], daemon=True).start()
        try:
            yield
        finally:
            for end in (listening, *self._through):
                with contextlib.suppress(OSError):  # the other side has hung up
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def _serve(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                ends = (listening.accept()[0], socket.create_connection(("127.0.0.1", self.to)))
                self._through += ends
                for pair in (ends, ends[::-1]):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def test_a_retrain_waits_a_minute_for_mlflows_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    mlflow_client.retry_for_a_minute()
    retries = int(os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
    left, pauses = Retry(retries, backoff_factor=MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR.get()), []
    for _ in range(retries):
        left = left.increment("GET", "/", error=ConnectionError())
        pauses.append(left.get_backoff_time())
    assert sum(pauses) >= 60


@pytest.mark.long
def test_mlflows_server_that_comes_late_is_waited_for_and_one_that_goes_is_named(
    fresh, mlflow_server
) -> None:
    """And the next run goes on. Here the client tries twice, not for a minute."""
    proxy = Proxy(mlflow_server.port)
    environment = {ADDRESS: f"http://127.0.0.1:{proxy.port}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
    process = start(fresh, **environment)
    proxy.refuse_one()
    with proxy.forward():
        said = until_it_says(process, "report: up to date")
    said += process.communicate()[0]
    assert process.returncode == 3, said
    assert f"127.0.0.1:{proxy.port}" in said[said.rindex("tutee: ") :]
    assert "Traceback" not in said
    with proxy.forward():
        process = start(fresh, **environment)
        said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "para v1, sft v2, dpo v3, dapo v4\n" in said


@contextlib.contextmanager
def begun_behind_a_proxy(project, home: Path) -> Iterator[tuple["subprocess.Popen[str]", Proxy]]:
    """A retrain that comes to its stage `grade`, whose server of Prefect nobody reaches from then on."""
    with prefect(home) as address:
        proxy = Proxy(int(address.removesuffix("/api").rpartition(":")[2]))
        with proxy.forward():
            process = start(project, PREFECT_API_URL=f"http://127.0.0.1:{proxy.port}/api")
            until_it_says(process, "grade")
        yield process, proxy


@pytest.mark.long
def test_prefects_server_may_be_away_for_a_while(retrained, tmp_path: Path) -> None:
    """Prefect's client tries again after 2, 4, 8, 16 and 32 s; here the server is back after the first."""
    with begun_behind_a_proxy(retrained, tmp_path) as (process, proxy):
        proxy.refuse_one()
        with proxy.forward():
            said, _ = process.communicate()
        assert process.returncode == 0, said


@pytest.mark.long
def test_prefects_server_that_goes_for_good_ends_the_run_in_three_minutes(retrained, tmp_path: Path) -> None:
    with begun_behind_a_proxy(retrained, tmp_path) as (process, proxy):
        gone = time.monotonic()
        said, _ = process.communicate()
    assert time.monotonic() - gone < 180
    assert process.returncode == 3, said
    (message,) = (line for line in said.splitlines() if line.startswith("tutee: "))
    assert f"PREFECT_API_URL: Prefect at http://127.0.0.1:{proxy.port}/api cannot be reached" in message
    assert re.search(r"\(stage \w+@small[\w-]*\)", message), message
    assert "`tutee retrain small --preset tiny` goes on" in message
    assert "Traceback" not in said
    done = retrained.tutee("retrain", "small")
    assert done.returncode == 0, done.stderr


# --- clocks -----------------------------------------------------------------------------------------------


class Clock(datetime):
    reads: ClassVar[datetime]

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return cls.reads


moments = st.datetimes(datetime(2024, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC))


@given(st.lists(moments, max_size=6))
def test_events_stay_in_order_whatever_the_clock_says(clock: list[datetime]) -> None:
    tags: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "datetime", Clock)
        for number, now in enumerate(clock):
            Clock.reads = now
            tags |= [history.event(f"event {number}", tags)]
    told = [text.partition("\n")[0] for _, text in history.events(tags)]
    assert told == [f"event {number}" for number in range(len(clock))]


def test_a_process_is_known_by_another_time_of_day_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel gives starts of processes from its own start, whose time of day moves with the clock."""
    mine = processes.this_process()
    real = psutil.boot_time()
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: real - timedelta(hours=1).total_seconds())
    assert not processes.has_ended(*mine)
    assert processes.this_process() == mine


# --- two at once ------------------------------------------------------------------------------------------


def promoted_once(project) -> None:
    registry = Registry(Places("small", "tiny", project.folder))
    versions = registry.versions()
    told = [text for version in versions for _, text in history.events(version.tags)]
    assert sum(text.startswith("champion") for text in told) == 1
    assert sum(PROMOTED in version.tags for version in versions) == 1
    champion = registry.champion()
    assert champion == registry.get_by_alias(CHAMPION)
    assert packed_version(registry.places) == champion.number


def test_of_two_promotions_at_once_one_wins(fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fresh.folder)
    setup, places = load("small"), Places("small", "tiny")
    pipeline = Pipeline.of(places)
    release.register(setup, pipeline, Registry(places), read_table(places.metrics, METRICS, "report"))
    both = [start(fresh, [*RETRAIN[:-2], "promote", "small"]) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    won = [text for text in said if " passes" in text]
    assert len(won) == 1, said
    (lost,) = set(said) - set(won)
    assert "is champion already" in lost or any(f"process {one.pid} is at work" in lost for one in both)
    promoted_once(fresh)


@pytest.mark.long
def test_two_courses_at_once_are_both_retrained(fresh, report_on) -> None:
    """The second waits for the first: one trains at a time. A promotion does not wait: it says for whom."""
    fresh.add_course("other")
    report_on(fresh, "other")
    first = start(fresh)
    until_it_says(first, "source")
    second = start(fresh, [*RETRAIN[:-1], "other"])
    at_work = f"process {first.pid} is at work here"
    assert at_work in until_it_says(second, "waits")
    failed_clearly(fresh.tutee("promote", "small"), at_work)
    assert first.wait() == 0, first.communicate()[0]
    assert second.wait() == 0, second.communicate()[0]
    for course in ("small", "other"):
        assert Registry(Places(course, "tiny", fresh.folder)).champion()
    with closing(sqlite3.connect(fresh.folder / "data/.prefect/prefect.db")) as database:
        states = dict(database.execute("SELECT name, state_type FROM flow_run").fetchall())
    assert states["small tiny"] == states["other tiny"] == "COMPLETED"

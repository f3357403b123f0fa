"""A running service is watched: what answers is said, a worker that ends is counted, all stops on SIGTERM.

The service is a stand-in of BentoML's own kind, without a student.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from serving import run
from serving.run import Address, worker_pids
from tutee_grader.errors import InputError, UnavailableError

HERE = Path(__file__).parent
CODE = """
import sys
from pathlib import Path
from serving import run
run.SERVICE = "standin:StandIn"
run.serve(run.Address("127.0.0.1", int(sys.argv[1])), Path(sys.argv[2]), {}, lambda: None)
"""


def state(**courses: tuple[str | None, str | None]) -> str:
    return json.dumps(
        {
            "courses": {
                name: {"model": model, "problem": problem} for name, (model, problem) in courses.items()
            }
        }
    )


def waited(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, free_port) -> dict:
    """A service whose champion changes, whose worker is killed, and which is stopped."""
    folder, port = tmp_path_factory.mktemp("story"), free_port()
    readyz, log, spy = folder / "readyz", folder / "log", folder / "spy"
    readyz.write_text(state(toy=("tutee-toy-v1", None), other=(None, "there is no champion yet")))
    environment = {name: value for name, value in os.environ.items() if "TRACK" not in name}
    environment |= {
        "PYTHONPATH": os.pathsep.join((str(HERE), str(HERE / "spy"))),
        "STANDIN_READYZ": str(readyz),
        "SPY_LOG": str(spy),
        "HOME": str(folder / "home"),
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, str(port), str(folder / "bentoml")],
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    family = psutil.Process(process.pid)
    try:
        waited(lambda: "tutee-toy-v1 answers" in log.read_text(), log.read_text())
        readyz.write_text(state(toy=("tutee-toy-v2", None), other=(None, "there is no champion yet")))
        waited(lambda: "tutee-toy-v2 answers" in log.read_text(), log.read_text())
        (worker,) = worker_pids(process)
        psutil.Process(worker).kill()
        waited(lambda: log.read_text().count("tutee-toy-v2 answers") == 2, log.read_text())
        children = family.children(recursive=True)
        listening = {
            one.laddr
            for process in (family, *children)
            for one in process.net_connections("inet")
            if one.status == psutil.CONN_LISTEN
        }
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    finally:
        for left in [*family.children(recursive=True), family] if process.poll() is None else []:
            left.kill()
    return {
        "code": code,
        "left": psutil.wait_procs(children, timeout=10)[1],
        "said": [line for line in log.read_text().splitlines() if line.startswith("serve:")],
        "listening": listening,
        "url": f"http://127.0.0.1:{port}",
        "folder": folder,
        "spy": spy.read_text().splitlines(),
    }


def test_it_says_what_answers_where_and_again_when_that_changes(story: dict) -> None:
    answers = [line for line in story["said"] if "answers" in line]
    assert answers == [f"serve: tutee-toy-v{number} answers at {story['url']}" for number in (1, 2, 2)]


def test_a_course_without_a_champion_is_said_once_for_each_worker(story: dict) -> None:
    assert story["said"].count("serve: other: there is no champion yet") == 2


def test_a_worker_that_ended_is_said_and_started_again(story: dict) -> None:
    restarts = [number for number, line in enumerate(story["said"]) if "the worker ended" in line]
    assert len(restarts) == 1
    assert "tutee-toy-v2 answers" in "".join(story["said"][restarts[0] :])


def test_sigterm_ends_it_well_with_all_that_it_started(story: dict) -> None:
    assert (story["code"], story["left"]) == (0, [])
    assert story["said"][-1] == "serve: stopping"


def test_nothing_listens_beyond_loopback(story: dict) -> None:
    assert story["url"] in {f"http://{address.ip}:{address.port}" for address in story["listening"]}
    assert {address.ip for address in story["listening"]} == {"127.0.0.1"}


def test_bentoml_keeps_its_metrics_and_all_else_in_the_services_own_folder(story: dict) -> None:
    """In a folder that services share, the next one that starts removes the metrics of the others."""
    assert list((story["folder"] / "bentoml" / "prometheus_multiproc_dir").glob("*.db"))
    assert not (story["folder"] / "home").exists()


def test_nobody_outside_this_machine_is_looked_up_or_connected_to(story: dict) -> None:
    outside = [line for line in story["spy"] if "127.0.0.1" not in line and "0.0.0.0" not in line]
    assert story["spy"]
    assert [line for line in outside if "/" not in line] == []  # a path is a socket of this machine


@pytest.mark.slow
def test_a_worker_that_ends_again_and_again_ends_the_service(
    tmp_path: Path, free_port, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SERVICE", "standin:StandIn")
    monkeypatch.setattr(run, "MAX_RESTARTS", 1)  # BentoML waits ten seconds before each
    address, environment = Address("127.0.0.1", free_port()), {"PYTHONPATH": str(HERE)}
    with pytest.raises(UnavailableError, match="the worker ended 2 times") as caught:
        run.serve(address, tmp_path, environment, lambda: None)
    assert caught.value.exit_code == 3
    assert capsys.readouterr().out.count("it is started again (1 of 1 times") == 1
    address.check_free()


def test_what_fails_beside_the_service_ends_it(
    tmp_path: Path, free_port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "SERVICE", "standin:StandIn")

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run.serve(Address("127.0.0.1", free_port()), tmp_path, {"PYTHONPATH": str(HERE)}, fail)


@pytest.mark.parametrize(
    "host, loopback, url",
    [
        ("127.0.0.1", True, "http://127.0.0.1:80"),
        ("localhost", True, "http://127.0.0.1:80"),
        ("::1", True, "http://[::1]:80"),
        ("0.0.0.0", False, "http://127.0.0.1:80"),
        ("::", False, "http://[::1]:80"),
        ("192.0.2.1", False, "http://192.0.2.1:80"),
    ],
)
def test_who_reaches_an_address(host: str, loopback: bool, url: str) -> None:
    assert (Address(host, 80).is_loopback, Address(host, 80).url) == (loopback, url)


def test_a_host_that_is_no_address_is_named() -> None:
    with pytest.raises(InputError, match=r"--host example\.org: not an address"):
        Address("example.org", 80)


def test_a_port_in_use_is_one_clear_message(free_port) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(UnavailableError, match=f"port {address.port} of 127.0.0.1 is in use") as caught:
            address.check_free()
    assert caught.value.exit_code == 3
    address.check_free()

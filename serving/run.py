"""Starts the service, watches it, and stops it again."""

import errno
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from threading import Thread

import httpx
import psutil

from serving.bundle import OFFLINE_ENVIRONMENT
from tutee_grader.errors import InputError, UnavailableError

SERVICE = "serving.service:ArtificialStudent"
LOOK_S = 1.0  # a worker takes longer to load, so none is missed that ends while it does
# A worker that ends is started again, but not more often than this without a minute of service in between.
MAX_RESTARTS, GOOD_S = 3, 60.0


class Address:
    """An address of this machine and a port; raises InputError where `host` is no address."""

    def __init__(self, host: str, port: int) -> None:
        try:
            self.ip = ip_address("127.0.0.1" if host == "localhost" else host)
        except ValueError as error:
            raise InputError(
                f"--host {host}: not an address; 127.0.0.1 is for this machine alone, 0.0.0.0 for all"
            ) from error
        self.port = port

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine reaches it."""
        return self.ip.is_loopback

    @property
    def url(self) -> str:
        """Where the service answers this machine."""
        if self.ip.version == 6:
            return f"http://[{'::1' if self.ip.is_unspecified else self.ip}]:{self.port}"
        return f"http://{'127.0.0.1' if self.ip.is_unspecified else self.ip}:{self.port}"

    def check_free(self) -> None:
        """Raises UnavailableError where the service cannot listen here."""
        family = socket.AF_INET6 if isinstance(self.ip, IPv6Address) else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((str(self.ip), self.port))
            except OSError as error:
                in_use = error.errno == errno.EADDRINUSE
                reason = "is in use" if in_use else f"cannot be used ({error.strerror})"
                other = self.port + 1 if self.port < 65535 else self.port - 1
                raise UnavailableError(
                    f"port {self.port} of {self.ip} {reason}; choose another one, as in "
                    f"`tutee serve --port {other}`"
                ) from error


def serve(address: Address, home: Path, environment: Mapping[str, str], beside: Callable[[], None]) -> None:
    """Serves until Ctrl-C or SIGTERM, and says which versions answer, whenever that changes.

    BentoML keeps its files in `home`, and `beside` runs in a thread meanwhile. Raises UnavailableError where
    the service cannot run, and what `beside` raises.
    """
    failures: list[Exception] = []

    def run_beside() -> None:
        try:
            beside()
        except Exception as error:  # noqa: BLE001 - raised by `serve`
            failures.append(error)

    with _interrupted_by_sigterm():
        # By it the service knows that this process asks, where others need a key to be told more.
        token = secrets.token_urlsafe()
        service = start_service(address, home, {**environment, "TUTEE_PROBE_TOKEN": token})
        try:
            Thread(target=run_beside, daemon=True).start()
            watch = Watch(service, address.url, token)
            while not failures:
                for line in watch.look():
                    print(f"serve: {line}", flush=True)
                time.sleep(LOOK_S)
            raise failures[0]
        except KeyboardInterrupt:
            print("serve: stopping", flush=True)
        finally:
            stop_service(service)


def start_service(address: Address, home: Path, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Starts the service in its own process group, so that only `stop_service` sends it Ctrl-C's signal."""
    where = ("--host", str(address.ip), "--port", str(address.port))
    return subprocess.Popen(
        [sys.executable, "-m", "bentoml", "serve", SERVICE, *where],
        # Of each service its own: BentoML empties its folder of metrics as it starts.
        env={**os.environ, **OFFLINE_ENVIRONMENT, "BENTOML_HOME": str(home.resolve()), **environment},
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.DEVNULL,
        process_group=0,
    )


class Watch:
    """Looks at a running service: which versions answer, and whether its worker had to be started again."""

    def __init__(self, service: "subprocess.Popen[bytes]", url: str, token: str) -> None:
        self._service, self._url = service, url
        # Not through a proxy that the environment sets: the address is this machine's own.
        self._client = httpx.Client(
            base_url=url,
            timeout=LOOK_S,
            trust_env=False,
            headers={"Authorization": f"Bearer {token}"},
        )
        self._said: dict[str, str] = {}
        self._workers: set[int] = set()
        self._restarts = 0
        self._answers_since: float | None = None

    def look(self) -> Iterator[str]:
        """What is new since the last look.

        Raises UnavailableError where the service has ended, or its worker does again and again.
        """
        if (code := self._service.poll()) is not None:
            raise UnavailableError(
                f"the service stopped by itself with exit code {code}; its last lines above say why"
            )
        workers = worker_pids(self._service)
        if self._workers and workers - self._workers:
            yield self._restarted()
        self._workers |= workers
        answer = self._ask()
        now = time.monotonic()
        if answer is not None:
            self._answers_since = self._answers_since or now
            if now - self._answers_since > GOOD_S:
                self._restarts = 0
        for course, line in (answer or {}).items():
            if line != self._said.get(course):
                self._said[course] = line
                yield line

    def _restarted(self) -> str:
        if self._restarts == MAX_RESTARTS:
            raise UnavailableError(
                f"the worker ended {MAX_RESTARTS + 1} times without a minute of service in between; its last "
                "lines above say why"
            )
        self._restarts += 1
        self._answers_since = None
        self._said = {}
        return (
            "the worker ended, its last lines above say why; it is started again "
            f"({self._restarts} of {MAX_RESTARTS} times without a minute of service in between)"
        )

    def _ask(self) -> dict[str, str] | None:
        """Of each course, what there is to say of it; None where the service does not answer."""
        try:
            answer = self._client.get("/readyz")
        except httpx.HTTPError:
            return None
        try:
            courses = answer.json()["courses"] or {}
        except (ValueError, KeyError):  # without a catalog there are none
            return {}
        lines = {}
        for name, state in courses.items():
            answers = f"{state['model']} answers at {self._url}" if state["model"] else ""
            problem = f"{name}: {state['problem']}" if state["problem"] else ""
            if answers or problem:
                lines[name] = "; ".join(filter(None, (answers, problem)))
        return lines


def worker_pids(service: "subprocess.Popen[bytes]") -> set[int]:
    """The processes that answer requests, ready or still loading."""
    found = set()
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(service.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "_bentoml_impl.worker.service" in child.cmdline():
                    found.add(child.pid)
    return found


def stop_service(service: "subprocess.Popen[bytes]", timeout: float = 20) -> None:
    """Asks the service to stop; after `timeout` seconds, kills it with all that it started."""
    if service.poll() is None:
        service.send_signal(signal.SIGINT)
        try:
            service.wait(timeout)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):  # who presses Ctrl-C again does not wait
            os.killpg(service.pid, signal.SIGKILL)
            service.wait()


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM, like Ctrl-C, raises KeyboardInterrupt in the block.

    SIGINT has to be set too: a shell that starts this process in the background makes it ignore SIGINT.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

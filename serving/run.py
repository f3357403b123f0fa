"""Starts the service of a student and stops it again."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from serving.bundle import OFFLINE_ENVIRONMENT, Bundle
from tutee_grader.errors import UnavailableError

SERVICE = "serving.service:ArtificialStudent"
READY_TIMEOUT = 180  # seconds


def serve(folder: Path, host: str = "127.0.0.1", port: int = 3000) -> None:
    """Serves the student in `folder` until Ctrl-C or SIGTERM.

    Raises InputError where the folder holds no student, and UnavailableError where the port is in use or
    the service does not start.
    """
    about = Bundle.load(folder).about
    check_port(host, port)
    address = f"http://{host}:{port}"
    print(f"serve: starting {about.model} ...", flush=True)
    # SIGTERM, like Ctrl-C, stops the service before this process ends. SIGINT has to be set too, because a
    # shell that starts this process in the background makes it ignore SIGINT.
    handlers = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    service = start_service(folder, host, port)
    try:
        wait_until_ready(service, address)
        print(f"serve: {about.model} is ready at {address} (Ctrl-C stops it)", flush=True)
        service.wait()
    except KeyboardInterrupt:
        print("serve: stopping", flush=True)
        return
    finally:
        stop_service(service)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    raise UnavailableError(
        f"the service stopped by itself with exit code {service.returncode}; its last lines above say why"
    )


def start_service(folder: Path, host: str, port: int) -> "subprocess.Popen[bytes]":
    """Starts the service in its own process group, so that only `stop_service` sends it Ctrl-C's signal."""
    command = [sys.executable, "-m", "bentoml", "serve", SERVICE, "--host", host, "--port", str(port)]
    return subprocess.Popen(
        command,
        env={**os.environ, **OFFLINE_ENVIRONMENT, "TUTEE_STUDENT": str(folder.resolve())},
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.DEVNULL,
        process_group=0,
    )


def wait_until_ready(
    service: "subprocess.Popen[bytes]", address: str, timeout: float = READY_TIMEOUT
) -> None:
    """Returns when the service answers; raises UnavailableError when it ends or exceeds `timeout`."""
    deadline = time.monotonic() + timeout
    seen: set[int] = set()
    while time.monotonic() < deadline:
        running = worker_pids(service)
        # BentoML restarts a worker that failed, again and again.
        if service.poll() is not None or seen - running:
            raise UnavailableError("the service could not start; its last lines above say why")
        seen |= running
        try:
            # Not through a proxy that the environment sets: the address is this machine's own.
            httpx.get(f"{address}/readyz", timeout=5, trust_env=False).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise UnavailableError(f"the service was not ready after {timeout:.0f} s")


def worker_pids(service: "subprocess.Popen[bytes]") -> set[int]:
    """The processes that answer requests, ready or still loading the student."""
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
        except subprocess.TimeoutExpired:
            os.killpg(service.pid, signal.SIGKILL)
            service.wait()


def check_port(host: str, port: int) -> None:
    """Raises UnavailableError where the service cannot listen on this port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise UnavailableError(
                f"port {port} of {host} {reason}; choose another one, as in `tutee serve --port {port + 1}`"
            ) from error

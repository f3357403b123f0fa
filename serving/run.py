"""Starts the service of a student's folder and ends it again."""

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

from serving.bundle import QUIET, Bundle
from tutee_grader.errors import UnavailableError

SERVICE = "serving.service:ArtificialStudent"
READY_S = 180


def serve(folder: Path, host: str = "127.0.0.1", port: int = 3000) -> None:
    """Serves the student in `folder` until Ctrl-C or SIGTERM.

    Raises InputError where the folder holds no student, and UnavailableError where the port
    is taken or the service does not come up.
    """
    about = Bundle.load(folder).about
    check_port(host, port)
    address = f"http://{host}:{port}"
    print(f"serve: starting {about.model} ...", flush=True)
    # `kill` ends this process as Ctrl-C does, by ending the service first; and a shell that starts it in
    # the background leaves Ctrl-C's signal ignored.
    before = {one: signal.signal(one, signal.default_int_handler) for one in (signal.SIGINT, signal.SIGTERM)}
    service = start(folder, host, port)
    try:
        wait(service, address)
        print(f"serve: {about.model} is ready at {address} (Ctrl-C ends it)", flush=True)
        service.wait()
    except KeyboardInterrupt:
        print("serve: ending", flush=True)
        return
    finally:
        end(service)
        for one, handler in before.items():
            signal.signal(one, handler)
    raise UnavailableError(
        f"the service ended by itself with exit code {service.returncode}; its last lines above say why"
    )


def start(folder: Path, host: str, port: int) -> "subprocess.Popen[bytes]":
    """Starts the service as a process group of its own, so that Ctrl-C reaches it once, through us."""
    command = [sys.executable, "-m", "bentoml", "serve", SERVICE, "--host", host, "--port", str(port)]
    return subprocess.Popen(
        command,
        env={**os.environ, **QUIET, "TUTEE_STUDENT": str(folder.resolve())},
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.DEVNULL,
        process_group=0,
    )


def wait(service: "subprocess.Popen[bytes]", address: str, seconds: float = READY_S) -> None:
    """Returns when the service answers; raises UnavailableError when it ends or takes too long."""
    deadline = time.monotonic() + seconds
    seen: set[int] = set()
    while time.monotonic() < deadline:
        now = workers(service)
        # BentoML starts a worker that failed anew, for ever.
        if service.poll() is not None or seen - now:
            raise UnavailableError("the service could not start; its last lines above say why")
        seen |= now
        try:
            # A proxy that the environment names is not for this machine's own address.
            httpx.get(f"{address}/readyz", timeout=5, trust_env=False).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise UnavailableError(f"the service was not ready after {seconds:.0f} s")


def workers(service: "subprocess.Popen[bytes]") -> set[int]:
    """The processes that answer requests, or will once they have loaded the student."""
    found = set()
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(service.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "_bentoml_impl.worker.service" in child.cmdline():
                    found.add(child.pid)
    return found


def end(service: "subprocess.Popen[bytes]", seconds: float = 20) -> None:
    """Asks the service to end, and ends it and all it started where it does not."""
    if service.poll() is None:
        service.send_signal(signal.SIGINT)
        try:
            service.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(service.pid, signal.SIGKILL)
            service.wait()


def check_port(host: str, port: int) -> None:
    """Raises UnavailableError where nothing can listen there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise UnavailableError(
                f"port {port} of {host} {reason}; choose another one, as in `tutee serve --port {port + 1}`"
            ) from error

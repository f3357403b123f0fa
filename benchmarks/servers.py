"""The two servers that `tutee bench serve` compares, each in processes of its own on loopback."""

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from serving.bundle import OFFLINE_ENVIRONMENT
from serving.run import SERVICE, stop_service
from tutee_grader.errors import UnavailableError

READY_S = 180.0


class Server:
    """A server that has been started; its log lies in `log`."""

    def __init__(self, log: Path, *command: str, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        self._address = f"http://127.0.0.1:{port}"
        self._log = log
        self._began = time.monotonic()
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *(port if word == "PORT" else word for word in command)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **OFFLINE_ENVIRONMENT, **environment},
                cwd=Path(__file__).parent.parent,  # BentoML imports a service from where it is started
                process_group=0,
            )

    @property
    def chat(self) -> str:
        """The address of chat completions."""
        return f"{self._address}/v1/chat/completions"

    def champion(self, course: str) -> str | None:
        """The model that answers for a course, as the service tells."""
        response = httpx.get(f"{self._address}/readyz", timeout=30, trust_env=False)
        model: str | None = response.json()["courses"][course]["model"]
        return model

    def wait_until_ready(self) -> None:
        """Waits until it is ready.

        Raises UnavailableError with the end of its log where it ends, or takes longer than READY_S.
        """
        while self._process.poll() is None and time.monotonic() < self._began + READY_S:
            with suppress(httpx.HTTPError):
                # Not through a proxy that the environment sets: the address is this machine's own.
                if httpx.get(f"{self._address}/readyz", timeout=5, trust_env=False).is_success:
                    return
            time.sleep(0.1)
        log = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise UnavailableError(f"a server did not start; its log ends:\n{log}")

    def memory(self) -> int:
        """The resident bytes of its largest process, which is the one with the model."""
        mine = psutil.Process(self._process.pid)
        sizes = [0]
        for process in (mine, *mine.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                sizes.append(process.memory_info().rss)
        return max(sizes)

    def stop(self) -> None:
        """Stops it with all that it started."""
        stop_service(self._process)


def start_service(catalog: Path, folder: Path) -> Server:
    """The service, with the students of a catalog; `folder` gets its log and what BentoML writes."""
    return Server(
        folder / "service.log",
        *("bentoml", "serve", SERVICE, "--host", "127.0.0.1", "--port", "PORT"),
        TUTEE_CATALOG=str(catalog),
        BENTOML_HOME=str(folder / "bentoml"),
    )


def start_unbatched(student: Path, threads: int, folder: Path) -> Server:
    """The usual way, `unbatched.py`, with so many threads of PyTorch; `folder` gets its log."""
    return Server(
        folder / f"generate-{threads}.log",
        *("benchmarks.unbatched", str(student.resolve()), "PORT"),
        OMP_NUM_THREADS=str(threads),
    )

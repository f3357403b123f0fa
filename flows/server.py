"""Prefect's API for the length of one command, on a free port of the loopback.

Prefect can start one itself, but imports the whole server in the flow's own process as well to do so,
which takes longer than everything else a retrain does when nothing has changed.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ADDRESS = "PREFECT_API_URL"


@contextmanager
def prefect(home: Path) -> Iterator[None]:
    """Starts Prefect's server, unless PREFECT_API_URL names one; returns at once, while it starts.

    Everything that Prefect remembers lies in `home`. Must be entered before `prefect` is imported.
    """
    home.mkdir(parents=True, exist_ok=True)
    os.environ["PREFECT_HOME"] = str(home.resolve())
    # Logs of tasks are kept in Prefect; on the terminal, the commands print their own lines.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    if os.environ.get(ADDRESS):
        yield
        return
    with socket.create_server(("127.0.0.1", 0)) as listening, (home / "server.log").open("wb") as log:
        # Whoever connects before the server is up waits in the socket's queue.
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(listening.fileno())],
            pass_fds=[listening.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PREFECT_SERVER_UI_ENABLED": "false"},
        )
        os.environ[ADDRESS] = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
        try:
            yield
        finally:
            del os.environ[ADDRESS]
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def main() -> None:
    from flows.environment import exit_with_parent

    exit_with_parent()
    import uvicorn
    from prefect.server.api.server import create_app

    config = uvicorn.Config(create_app(), log_level="error")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()

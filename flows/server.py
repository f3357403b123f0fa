"""Prefect's API while a command works: the one the user names, a schedule's in this folder, or a new one.

Prefect can start one itself, but imports the whole server in the flow's own process as well to do so,
which takes longer than everything else a retrain does when nothing has changed.
"""

import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tutee_grader.errors import UnavailableError

ADDRESS, HOME = "PREFECT_API_URL", "PREFECT_HOME"
# In Prefect's home: the address of the server that a schedule runs there.
ADDRESS_FILE = "address"
# A server of our own forgets a run after this time: a schedule looks for new logs 288 times a day.
KEPT_RUNS = {
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 24 * 60 * 60),
}


@contextmanager
def prefect(home: Path, port: int = 0) -> Iterator[str]:
    """Prefect's API; returns its address at once, while it may still start.

    A server that is named by PREFECT_API_URL, or in Prefect's own profile, is used. Otherwise one is started
    here, on a free port or on `port`, where it has Prefect's page too; all that it remembers lies in `home`.
    Must be entered before `prefect` is imported. Raises UnavailableError where the port is taken.
    """
    # Logs of tasks are kept in Prefect; on the terminal, the commands print their own lines.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    if named := named_server():
        yield named
        return
    home.mkdir(parents=True, exist_ok=True)
    os.environ[HOME] = str(home.resolve())
    try:
        if running := scheduled_server(home):
            os.environ[ADDRESS] = running
            yield running
        else:
            with _started(home, port) as address:
                os.environ[ADDRESS] = address
                yield address
    finally:
        os.environ.pop(ADDRESS, None)


def named_server() -> str | None:
    """The address of the server that the user names, in PREFECT_API_URL or in Prefect's own profile."""
    return os.environ.get(ADDRESS) or _in_profile()


def _in_profile() -> str | None:
    """The address that `prefect config set` has written for the user, if there is one."""
    home = Path(os.environ.get(HOME, "~/.prefect")).expanduser()
    file = Path(os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml")).expanduser()
    if not file.exists():
        return None
    profiles = tomllib.loads(file.read_text(encoding="utf-8"))
    active = os.environ.get("PREFECT_PROFILE", profiles.get("active", ""))
    address = profiles.get("profiles", {}).get(active, {}).get(ADDRESS)
    return str(address) if address else None


def scheduled_server(home: Path) -> str | None:
    """The address of the server that a schedule runs with `home`, where it answers."""
    import httpx

    file = home / ADDRESS_FILE
    if not file.exists():
        return None
    address = file.read_text(encoding="utf-8")
    try:
        return address if httpx.get(f"{address}/health", timeout=5).is_success else None
    except httpx.TransportError:
        return None


@contextmanager
def _started(home: Path, port: int) -> Iterator[str]:
    try:
        listening = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise UnavailableError(f"port {port} cannot be used ({error.strerror}); choose another") from error
    with listening, (home / "server.log").open("wb") as log:
        # Whoever connects before the server is up waits in the socket's queue.
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(listening.fileno())],
            pass_fds=[listening.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**KEPT_RUNS, **os.environ, "PREFECT_SERVER_UI_ENABLED": str(bool(port)).lower()},
        )
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
        if port:
            (home / ADDRESS_FILE).write_text(address, encoding="utf-8")
        try:
            yield address
        finally:
            (home / ADDRESS_FILE).unlink(missing_ok=True)
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def main() -> None:
    from flows.environment import collect_less_garbage, exit_with_parent

    exit_with_parent()
    collect_less_garbage()
    import uvicorn
    from prefect.server.api.server import create_app

    config = uvicorn.Config(create_app(), log_level="error")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()

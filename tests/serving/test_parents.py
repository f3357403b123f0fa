"""A service whose parents were killed ends, too: nothing answers, or holds a model's memory, unseen."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from serving.parents import PARENT

CHILD = """import asyncio
from serving.parents import end_with_parents
async def main():
    task = asyncio.create_task(end_with_parents())
    await asyncio.sleep(0)  # by now it knows its parents
    print(flush=True)
    await task
asyncio.run(main())"""
# Stands for BentoML's process, which starts the worker and says which one that is.
SUPERVISOR = f"""import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(120)"""


@pytest.fixture
def tutee_serve() -> Iterator[subprocess.Popen]:
    """Stands for the process of `tutee serve`."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("killed", ["supervisor", "tutee serve"])
def test_a_worker_ends_with_its_parents(tutee_serve, killed):
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR],
        stdout=subprocess.PIPE,
        env={**os.environ, PARENT: str(tutee_serve.pid)},
    )
    worker = psutil.Process(int(supervisor.stdout.readline()))
    assert worker.is_running()
    parent = tutee_serve if killed == "tutee serve" else supervisor
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert psutil.wait_procs([worker], timeout=20)[1] == []
    assert supervisor.wait(20) in (-signal.SIGKILL, -signal.SIGTERM)

"""Ends the service with the processes that started it, however they ended."""

import asyncio
import os
import signal

import psutil

LOOK_S = 1.0
# The process of `tutee serve`, which starts BentoML, which starts the worker.
PARENT = "TUTEE_SERVE_PID"


async def end_with_parents() -> None:
    """Returns once BentoML's process or that of `tutee serve` has been killed, and ends what is left."""
    supervisor, serve = os.getppid(), int(os.environ.get(PARENT, "0"))
    while os.getppid() == supervisor and (not serve or psutil.pid_exists(serve)):
        await asyncio.sleep(LOOK_S)
    if os.getppid() == supervisor:
        os.kill(supervisor, signal.SIGTERM)  # or it would start another worker
    os.kill(os.getpid(), signal.SIGTERM)

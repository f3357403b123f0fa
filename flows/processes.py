"""Names a process so that others can tell later whether it is still at work.

It is named by when it started, in ticks since the machine did: a clock that is set changes the time of day.
"""

import os
import socket
from pathlib import Path

import psutil

# How exactly a process's start is known as a time of day.
START_S = 2.0


def this_process() -> tuple[str, str, str]:
    """This machine's name, this process's id, and when it started: another may be given its id later."""
    pid = os.getpid()
    return socket.gethostname(), str(pid), _started(pid)


def has_ended(host: str, process: str, started: str) -> bool:
    """Whether a process, named as by `this_process`, was one of this machine and has ended."""
    if host != socket.gethostname():
        return False
    try:
        lives = psutil.Process(int(process)).status() != psutil.STATUS_ZOMBIE
        return not lives or _started(int(process)) != started
    except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
        return True


def has_lived_since(process: int, moment: float) -> bool:
    """Whether the process with this id lives and started by `moment`; a later one has the id of another."""
    try:
        found = psutil.Process(process)
        return found.status() != psutil.STATUS_ZOMBIE and found.create_time() < moment + START_S
    except psutil.NoSuchProcess:
        return False


def _started(pid: int) -> str:
    """Which start of the machine, and the ticks from there to the process's start: proc(5)."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().partition("-")[0]
    # The second field, the command in parentheses, may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return f"{boot}-{fields[19]}"

"""Names a process so that others can tell later whether it is still at work.

It is named by when it started, in ticks since the machine did: a clock that is set changes the time of day.
"""

import os
import socket
import threading
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil


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


def end_with_parent() -> None:
    """Called in a worker: ends it when its parent is killed, which it would otherwise survive for ever."""
    threading.Thread(target=_exit_after, args=[parent_process()], daemon=True).start()


def _exit_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _started(pid: int) -> str:
    """Which start of the machine, and the ticks from there to the process's start: proc(5)."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().partition("-")[0]
    # The second field, the command in parentheses, may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return f"{boot}-{fields[19]}"

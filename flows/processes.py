"""Names a process so that others can tell later whether it is still at work."""

import socket

import psutil


def this_process() -> tuple[str, str, str]:
    """This machine's name, this process's id, and when it started: another may be given its id later."""
    process = psutil.Process()
    return socket.gethostname(), str(process.pid), f"{process.create_time():.2f}"


def has_ended(host: str, process: str, started: str) -> bool:
    """Whether a process, named as by `this_process`, was one of this machine and has ended."""
    if host != socket.gethostname():
        return False
    try:
        found = psutil.Process(int(process))
        lives = abs(found.create_time() - float(started)) < 1 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    return not lives

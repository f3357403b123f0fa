"""Processes that work beside this one."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from threading import Thread


def start_processes(count: int) -> ProcessPoolExecutor:
    """A pool of `count` processes, none of which outlives this one.

    They are spawned, as a fork of a process with threads may hang; so a script that comes here needs its
    `if __name__ == "__main__":`.
    """
    return ProcessPoolExecutor(count, get_context("spawn"), end_with_parent)


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def end_with_parent() -> None:
    """Called in a worker: ends it when its parent is killed, which it would otherwise survive for ever."""
    Thread(target=_exit_after, args=[parent_process()], daemon=True).start()


def _exit_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)

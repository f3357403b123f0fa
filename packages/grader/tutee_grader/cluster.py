"""Running one function over many items on a Ray cluster.

When a Ray worker process dies, Ray gives its item to another one.
"""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import polars as pl

from tutee_grader.errors import UnavailableError

RETRIES = 5  # Ray workers that may die over one item

Item = TypeVar("Item")
Shared = TypeVar("Shared")
Result = TypeVar("Result")


def map_on_cluster(
    address: str, work: Callable[[Item, Shared], Result], items: Iterable[tuple[str, Item]], shared: Shared
) -> Iterator[tuple[str, Result]]:
    """`work(item, shared)` for each (key, item): (key, result), in the order in which they are done.

    `work` is a function of a module; `shared` is sent once. `address` is what `ray.init` takes
    (`ray://host:10001`, `auto`). Raises UnavailableError without Ray.
    """
    try:
        import ray
    except ImportError:
        raise UnavailableError(
            "a cluster needs Ray, which is not installed: pip install 'tutee-grader[cluster]'"
        ) from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing here reports to anyone
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False)
    remote = ray.remote(num_cpus=1, max_retries=RETRIES)(work)
    sent = ray.put(shared)
    waiting = iter(items)
    # Enough at a time to keep every core busy, and no more in memory.
    at_once = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    running: dict[Any, str] = {}
    while True:
        while len(running) < at_once and (next_item := next(waiting, None)) is not None:
            key, item = next_item
            running[remote.remote(item, sent)] = key
        if not running:
            return
        (done,), _ = ray.wait(list(running), num_returns=1)
        yield running.pop(done), ray.get(done)


def to_bytes(table: pl.DataFrame) -> bytes:
    """A table as Arrow IPC, for a process of a cluster, where polars may have another version."""
    file = io.BytesIO()
    table.write_ipc(file, compression="zstd")
    return file.getvalue()


def from_bytes(data: bytes) -> pl.DataFrame:
    """The table that `to_bytes` was given."""
    return pl.read_ipc(io.BytesIO(data))

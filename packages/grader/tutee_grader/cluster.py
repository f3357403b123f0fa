"""Grading partitions on a Ray cluster: the same partitions, the same verdicts, other machines' cores.

Each Ray worker process keeps one sandboxed worker of its own. When a Ray worker dies, Ray gives its
partition to another one.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from tutee_grader.assignment import Assignment
from tutee_grader.errors import UnavailableError
from tutee_grader.grader import Grader
from tutee_grader.rows import VERDICTS, grade_rows

RETRIES = 5  # Ray workers that may die over one partition
_grader: list[Grader] = []  # of this Ray worker process


def grade_on_cluster(
    address: str,
    partitions: Mapping[str, pl.DataFrame],
    assignments: Mapping[str, Assignment],
    allow_weak: bool,
) -> Iterator[tuple[str, pl.DataFrame]]:
    """The verdicts of each partition, by its key, in the order in which they are done.

    `address` is what `ray.init` takes (`ray://host:10001`, `auto`).
    Raises UnavailableError without Ray.
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
    work = ray.remote(num_cpus=1, max_retries=RETRIES)(_grade)
    shared = ray.put(dict(assignments))
    waiting = iter(partitions.items())
    room = 2 * max(
        1, int(ray.cluster_resources().get("CPU", 1))
    )  # enough to keep every core busy, no more in memory
    running: dict[Any, str] = {}
    while True:
        while len(running) < room and (item := next(waiting, None)) is not None:
            key, rows = item
            columns = rows.select("submission_id", "assignment", "code").to_dict(as_series=False)
            running[work.remote(columns, shared, allow_weak)] = key
        if not running:
            return
        (done,), _ = ray.wait(list(running), num_returns=1)
        yield running.pop(done), pl.DataFrame(ray.get(done), schema=VERDICTS)


def _grade(
    columns: dict[str, list[Any]], assignments: dict[str, Assignment], allow_weak: bool
) -> list[dict[str, Any]]:
    if not _grader:
        _grader.append(Grader(1, allow_weak))
    rows = pl.DataFrame(columns, schema={name: pl.String for name in columns})
    return grade_rows(_grader[0], rows, assignments).to_dicts()

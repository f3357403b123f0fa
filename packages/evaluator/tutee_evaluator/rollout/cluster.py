"""Rolls an engine out on a Ray cluster, a few trajectories at a time."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import polars as pl

from tutee_evaluator.engines import Engine
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.rollout.grading import Known
from tutee_evaluator.rollout.rolling import Rows, roll
from tutee_grader.cluster import from_bytes, map_on_cluster, to_bytes
from tutee_grader.grader import Grader

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment

ROLLOUTS_PER_ITEM = 500  # or more: the starts of a trajectory stay together, as they share their prompts

Item = tuple[bytes, bytes]  # starts, and their dialogs in every format


@dataclass(frozen=True)
class Job:
    """What every item needs; `name` tells one call of `roll_on_cluster` from another."""

    name: str
    make_engine: Callable[[], Engine]
    assignments: "Mapping[str, Assignment]"
    known: Known
    config: RolloutConfig


# In each process of a cluster, kept between items: the engine of the present job, and one sandboxed worker.
_engine: dict[str, Engine] = {}
_grader: list[Grader] = []


def roll_on_cluster(
    address: str,
    starts: pl.DataFrame,
    dialogs: pl.DataFrame,
    make_engine: Callable[[], Engine],
    assignments: "Mapping[str, Assignment]",
    known: Known,
    config: RolloutConfig,
) -> Iterator[Rows]:
    """As `roll`, on the Ray cluster at `address`; what `make_engine` reads must be there in every node."""
    job = Job(uuid4().hex, make_engine, dict(assignments), known, config)
    for _, rollouts in map_on_cluster(address, _roll_item, _items(starts, dialogs), job):
        yield from rollouts


def _items(starts: pl.DataFrame, dialogs: pl.DataFrame) -> Iterator[tuple[str, Item]]:
    rollouts = pl.col("samples").list.len()
    numbered = starts.with_columns(before=rollouts.cum_sum() - rollouts).with_columns(
        item=pl.first("before").over("dialog_id") // ROLLOUTS_PER_ITEM
    )
    for (number,), rows in numbered.group_by("item", maintain_order=True):
        read = dialogs.join(rows, on="dialog_id", how="semi")
        yield str(number), (to_bytes(rows), to_bytes(read))


def _roll_item(item: Item, job: Job) -> list[Rows]:
    """The rows of each rollout of one item, in a process of a cluster."""
    if job.name not in _engine:
        _engine.clear()
        _engine[job.name] = job.make_engine()
    if not _grader:
        _grader.append(Grader(1))
    starts, dialogs = map(from_bytes, item)
    engine = _engine[job.name]
    return list(roll(starts, dialogs, engine, job.assignments, _grader[0], job.known, job.config))

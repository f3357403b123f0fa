"""Makes all rollouts of a method."""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from tutee_evaluator.engines import Engine
from tutee_evaluator.rollout.cluster import roll_on_cluster
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.rollout.grading import Known
from tutee_evaluator.rollout.rolling import roll
from tutee_evaluator.rollout.shards import Shards
from tutee_evaluator.rollout.starts import draw_starts, unfinished
from tutee_evaluator.schemas import ROLLOUTS, ROLLOUTS_ORDER
from tutee_grader.progress import progress_bar

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment
    from tutee_grader.grader import Grader


def roll_out(
    method: str,
    make_engine: Callable[[], Engine],
    dialogs: pl.DataFrame,
    submissions: pl.DataFrame,
    assignments: "Mapping[str, Assignment]",
    grader: "Grader",
    config: RolloutConfig,
    table: Path,
    *,
    known: Known | None = None,
    folder: Path | None = None,
    cluster: str = "local",
    progress: bool = False,
) -> pl.LazyFrame:
    """Rolls an engine out from the drawn starts of the held-out dialogs (DIALOGS).

    The ROLLOUTS are written to the file `table`, of which a scan is returned: memory holds few of them.
    Programs are graded while the engine writes others; one with a verdict in `known` is not graded again.
    Finished rollouts are kept in `folder`, and those that are there already are not made again, so that a
    killed run goes on. `cluster` is `local` or the address of a Ray cluster, each of whose processes makes an
    engine and a grader of its own. Raises InputError where the held-out dialogs give nothing to roll out.
    """
    known = known or {}
    starts = draw_starts(dialogs, submissions, config)
    total = starts.height * (1 + config.samples)
    with nullcontext(folder) if folder else tempfile.TemporaryDirectory() as parent:
        shards = Shards(Path(parent), ROLLOUTS, ROLLOUTS_ORDER)
        starts = unfinished(starts, config.samples, shards.finished())
        missing = int(starts["samples"].list.len().sum())
        with progress_bar(
            f"rollout {method}", total, "rollouts", shown=progress, initial=total - missing
        ) as bar:
            if cluster == "local":
                made = roll(starts, dialogs, make_engine(), assignments, grader, known, config)
            else:
                made = roll_on_cluster(cluster, starts, dialogs, make_engine, assignments, known, config)
            for rows in made:
                shards.add([{**row, "method": method} for row in rows])
                bar.update()
        shards.flush()
        shards.write(table)
    return pl.scan_parquet(table)

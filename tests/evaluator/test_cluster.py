"""Rollouts and scores on a real local Ray cluster: two worker processes, one of them killed in the middle."""

from __future__ import annotations  # the classes below are sent to Ray's workers without the names in them

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tutee_evaluator import evaluate as evaluating
from tutee_evaluator.engines import Completion, Engine, EngineConfig, Request
from tutee_evaluator.engines.baselines import Copy, Nearest
from tutee_evaluator.engines.loading import load_engine
from tutee_evaluator.evaluate import evaluate
from tutee_evaluator.metrics import ReportConfig
from tutee_evaluator.rollout import cluster, shards
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.rollout.run import roll_out
from tutee_evaluator.rollout.starts import draw_starts
from tutee_grader import Assignment, Grader, UnavailableError
from tutee_grader.cluster import from_bytes

try:
    import ray
except ImportError:
    ray = None

needs_ray = pytest.mark.skipif(
    ray is None, reason="Ray is not installed: .venv/bin/uv pip install -c constraints.txt -e '.[cluster]'"
)

CONFIG = RolloutConfig(samples=3, seed=5)


@pytest.fixture(scope="module")
def two_ray_workers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # or it writes a key into the home folder
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        yield
        ray.shutdown()


@pytest.fixture
def rolled(
    dialogs_of: Callable[..., pl.DataFrame],
    submissions: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    grader: Grader,
    tmp_path: Path,
) -> Callable[..., pl.DataFrame]:
    def roll(method: str, make_engine: Callable[[], Engine], **settings: Any) -> pl.DataFrame:
        table = tmp_path / f"{method}.parquet"
        arguments = (dialogs_of(), submissions, assignments, grader, CONFIG, table)
        return roll_out(method, make_engine, *arguments, **settings).collect()

    return roll


def test_the_starts_of_a_trajectory_are_rolled_out_together_and_few_trajectories_at_once(
    dialogs_of: Callable[..., pl.DataFrame], submissions: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ROLLOUTS_PER_ITEM", 5)
    starts = draw_starts(dialogs_of(), submissions, CONFIG).with_columns(samples=pl.lit([0, 1]))

    items = [tuple(map(from_bytes, item)) for _, item in cluster._items(starts, dialogs_of())]

    assert pl.concat(rows.select(starts.columns) for rows, _ in items).equals(starts)
    assert all(set(rows["dialog_id"]) == set(dialogs["dialog_id"]) for rows, dialogs in items)
    together = [set(rows["dialog_id"]) for rows, _ in items]
    assert sum(map(len, together)) == 5  # trajectories, none in two items
    # Each has at most three starts, so six rollouts; an item takes another one while it has less than five.
    assert all(2 * rows.height < 5 + 6 for rows, _ in items) and 1 < len(items) < 5


@pytest.mark.skipif(ray is not None, reason="Ray is installed; this one is for machines without it")
def test_without_ray_a_cluster_is_refused_with_the_way_out(rolled: Callable[..., pl.DataFrame]) -> None:
    with pytest.raises(UnavailableError, match=r"tutee-grader\[cluster\]"):
        rolled("copy", partial(Copy, "edits", "summary"), cluster="auto")


@needs_ray
@pytest.mark.slow
def test_a_cluster_rolls_out_the_same_rows_though_a_worker_is_killed(
    two_ray_workers: None,
    rolled: Callable[..., pl.DataFrame],
    dialogs_of: Callable[..., pl.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "ROLLOUTS_PER_ITEM", 1)
    make_engine = partial(load_engine, "nearest", tmp_path, dialogs_of(), EngineConfig())
    here = rolled("nearest", make_engine)
    trace = tmp_path / "trace"
    trace.mkdir()

    # Within a function, so that its class is sent to the workers and not looked for there.
    def make_dying_engine() -> Engine:
        class Dying(Nearest):
            """Kills its process at the third turn, where none was killed before."""

            def collect(self) -> list[tuple[int, Completion]]:
                done = super().collect()
                self.turns = getattr(self, "turns", 0) + len(done)
                if self.turns >= 3 and not (trace / "killed").exists():
                    (trace / "killed").write_text(str(os.getpid()))
                    os.kill(os.getpid(), signal.SIGKILL)
                return done

        (trace / f"made by {os.getpid()} {len(list(trace.iterdir()))}").touch()
        engine = make_engine()
        return Dying(engine.format, engine.feedback, dialogs_of_engine)

    dialogs_of_engine = dialogs_of().filter(feedback="summary")
    there = rolled("nearest", make_dying_engine, cluster="auto")

    assert (trace / "killed").exists()
    assert there.equals(here)
    made = [file.name.split()[2] for file in trace.glob("made*")]
    assert len(made) == len(set(made))  # one engine in each process, of three, for five trajectories


@needs_ray
@pytest.mark.slow
def test_a_clusters_workers_take_the_engine_of_the_present_method(
    two_ray_workers: None,
    rolled: Callable[..., pl.DataFrame],
    scripted: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "ROLLOUTS_PER_ITEM", 1)

    def make_engine(program: str) -> Engine:
        class Fixed(Copy):
            def _complete(self, request: Request) -> Completion:
                return Completion(program, program)

        return Fixed("edits", "summary")

    one = rolled("one", partial(make_engine, "x = 1\n"), cluster="auto")
    two = rolled("two", partial(make_engine, "x = 2\n"), cluster="auto")

    assert set(one["code"].drop_nulls()) == {"x = 1\n"}
    assert set(two["code"].drop_nulls()) == {"x = 2\n"}


@needs_ray
@pytest.mark.slow
def test_a_cluster_makes_only_the_rollouts_that_are_missing(
    two_ray_workers: None,
    rolled: Callable[..., pl.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shards, "ROLLOUTS_PER_SHARD", 7)
    folder = tmp_path / "folder"
    whole = rolled("copy", partial(Copy, "edits", "summary"), folder=folder)
    first, *others = sorted(folder.glob("*.parquet"))
    kept = pl.read_parquet(first).select("dialog_id", "start", "sample").unique().height
    for file in others:
        file.unlink()
    sent = []

    def counting(address: str, work: Any, items: Any, shared: Any) -> Iterator[Any]:
        for key, rollouts in map_on_cluster(address, work, items, shared):
            sent.extend(rollouts)
            yield key, rollouts

    map_on_cluster = cluster.map_on_cluster
    monkeypatch.setattr(cluster, "map_on_cluster", counting)
    again = rolled("copy", partial(Copy, "edits", "summary"), folder=folder, cluster="auto")

    assert again.equals(whole)
    assert kept == 7 and len(sent) == 40 - 7  # 10 starts, each a greedy rollout and three samples


@needs_ray
@pytest.mark.slow
def test_a_cluster_gives_the_same_scores_though_a_worker_is_killed(
    two_ray_workers: None,
    rolled: Callable[..., pl.DataFrame],
    dialogs_of: Callable[..., pl.DataFrame],
    submissions: pl.DataFrame,
    verdicts: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    methods = {
        name: partial(load_engine, name, tmp_path, dialogs_of(), EngineConfig())
        for name in ("copy", "nearest", "transition")
    }
    rollouts = pl.concat(rolled(name, make_engine) for name, make_engine in methods.items())
    arguments = (rollouts, dialogs_of(), submissions, verdicts, ReportConfig(resamples=20))
    here = evaluate(*arguments)

    killed = tmp_path / "killed"
    map_on_cluster = evaluating.map_on_cluster

    def with_a_death(address: str, work: Any, items: Any, shared: Any) -> Iterator[Any]:
        def dying(item: Any, shared: Any) -> Any:
            done = work(item, shared)
            if not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)  # before the part is handed back
            return done

        return map_on_cluster(address, dying, items, shared)

    monkeypatch.setattr(evaluating, "ROWS_PER_PART", 1)
    monkeypatch.setattr(evaluating, "map_on_cluster", with_a_death)
    there = evaluate(*arguments, cluster="auto")

    assert killed.exists()
    for mine, theirs in zip(here, there, strict=True):
        assert theirs.equals(mine)
    assert here[1]["energy"].null_count() == 0 and here[1]["energy"].n_unique() > 5

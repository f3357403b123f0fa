"""The same table on a real local Ray cluster: two worker processes, one of them killed in the middle."""

import contextlib
import os
import signal
from pathlib import Path

import polars as pl
import pytest

from tutee_grader import UnavailableError, grade_table

try:
    import ray
except ImportError:
    ray = None

needs_ray = pytest.mark.skipif(
    ray is None, reason="Ray is not installed: .venv/bin/uv pip install -c constraints.txt -e '.[cluster]'"
)


@pytest.fixture
def table_and_assignments(calls):
    assignment = calls(("f(1)", "1"), ("f(2)", "4"))
    bodies = ["n", "n * n", "n +", "1 / 0", "'x'", "sum(range(300_000)) * 0 + n"]
    table = pl.DataFrame(
        {
            "submission_id": [f"s{index}" for index in range(240)],
            "assignment": ["task"] * 240,
            "code": [f"def f(n): return {bodies[index % 6]}  # {index}" for index in range(240)],
        }
    )
    return table, {"task": assignment}


@pytest.mark.skipif(ray is not None, reason="Ray is installed; this one is for machines without it")
def test_without_ray_a_cluster_is_refused_with_the_way_out(table_and_assignments, tmp_path):
    with pytest.raises(UnavailableError, match=r"tutee-grader\[cluster\]"):
        grade_table(*table_and_assignments, tmp_path, cluster="auto")


@pytest.fixture
def two_ray_workers(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # or it writes a key into the home folder
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    yield
    ray.shutdown()


@needs_ray
@pytest.mark.slow
def test_a_cluster_gives_the_same_rows_though_a_worker_is_killed(
    two_ray_workers, table_and_assignments, tmp_path
):
    table, assignments = table_and_assignments
    here = grade_table(table, assignments, tmp_path / "here", partition=12, workers=2)

    killed = []

    class Bar:
        """Notices each finished partition; after the third, kills a Ray worker process that is at work."""

        def __init__(self, *_, **__):
            self.parts = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, rows):
            self.parts += bool(rows)
            if self.parts == 3 and not killed:
                killed.append(_kill_a_busy_ray_worker())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tutee_grader.table.progress_bar", Bar)
        there = grade_table(table, assignments, tmp_path / "there", partition=12, cluster="auto")
    assert len(killed) == 1
    assert there["submission_id"].to_list() == table["submission_id"].to_list()
    assert there.equals(here)


def _kill_a_busy_ray_worker() -> int:
    """The process that runs a grading task calls itself `ray::_grade`."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if (process / "cmdline").read_bytes().startswith(b"ray::_grade"):
                os.kill(int(process.name), signal.SIGKILL)
                return int(process.name)
    raise AssertionError("no Ray worker is at work")

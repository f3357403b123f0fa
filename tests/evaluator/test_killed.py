"""A process that rolls out is killed by SIGKILL, which it cannot notice, and started again."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl

from tutee_serializer.course import Course

# Rolls out into `folder`; notes each turn it is asked for. With a number of turns: dies at that one.
ROLL = """
import os
import signal
import sys
from pathlib import Path

import polars as pl

from tutee_evaluator.engines.baselines import Copy
from tutee_evaluator.rollout import shards
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.rollout.run import roll_out
from tutee_grader import Assignment, Grader

shards.ROLLOUTS_PER_SHARD = 3
tables, course, folder, death = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
dialogs, submissions = (pl.read_parquet(tables / f"{name}.parquet") for name in ("dialogs", "submissions"))
assignments = {name: Assignment.load(course / name) for name in ("double", "greet")}


class Noting(Copy):
    batch = 4

    def next_program(self, dialog, previous, random):
        print("turn", flush=True)
        self.turns = getattr(self, "turns", 0) + 1
        if self.turns == death:
            os.kill(os.getpid(), signal.SIGKILL)
        return previous


with Grader(1) as grader:
    config, table = RolloutConfig(samples=1), folder / "table.parquet"
    arguments = (dialogs, submissions, assignments, grader, config, table)
    roll_out("copy", lambda: Noting("edits", "summary"), *arguments, folder=folder / "shards")
"""


def test_a_killed_process_goes_on_with_what_is_missing_and_makes_the_same_table(
    dialogs_of: Callable[..., pl.DataFrame], submissions: pl.DataFrame, course: Course, tmp_path: Path
) -> None:
    dialogs_of().write_parquet(tmp_path / "dialogs.parquet")
    submissions.write_parquet(tmp_path / "submissions.parquet")

    def roll(folder: str, death: int = 0) -> tuple[int, int]:
        """The exit status and the number of turns that were asked for."""
        paths = [tmp_path, course.file.parent / "assignments", tmp_path / folder]
        command = [sys.executable, "-c", ROLL, *map(str, paths), str(death)]
        done = subprocess.run(command, capture_output=True, text=True)
        return done.returncode, done.stdout.count("turn")

    # 16 real submissions follow the starts; each has a step of a greedy rollout and of a sample.
    assert roll("whole") == (0, 32)
    assert roll("killed", death=20) == (-signal.SIGKILL, 20)
    assert not (tmp_path / "killed" / "table.parquet").exists()
    kept = sum(pl.read_parquet(file).height for file in (tmp_path / "killed" / "shards").glob("*.parquet"))
    assert roll("killed") == (0, 32 - kept)
    assert 0 < kept < 20
    whole, killed = (pl.read_parquet(tmp_path / name / "table.parquet") for name in ("whole", "killed"))
    assert killed.equals(whole)

"""The memory of rolling out does not grow with the number of starts."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tutee_grader import Assignment, grade_table
from tutee_serializer.course import Course
from tutee_serializer.dialogs.selection import SerializeConfig
from tutee_serializer.dialogs.serialize import serialize
from tutee_serializer.schemas import SUBMISSIONS

STUDENTS, SUBMITTED, PROGRAMS = 100, 21, 40  # 2,000 starts
MEGABYTES = 25  # more than what an allocator keeps by chance

# Rolls out from so many starts, with programs that have verdicts; prints by how many megabytes its peak grew.
ROLL = """
import sys
from pathlib import Path

import polars as pl

from tutee_evaluator.engines import Completion
from tutee_evaluator.engines.baselines import Copy
from tutee_evaluator.rollout import shards
from tutee_evaluator.rollout.config import RolloutConfig
from tutee_evaluator.rollout.grading import known_verdicts
from tutee_evaluator.rollout.run import roll_out
from tutee_grader import Assignment, Grader

shards.ROLLOUTS_PER_SHARD, shards.ROWS_PER_PIECE = 100, 1000  # few starts fill them, too
folder, starts = Path(sys.argv[1]), int(sys.argv[2])
dialogs, submissions, verdicts = (
    pl.read_parquet(folder / f"{name}.parquet") for name in ("dialogs", "submissions", "verdicts")
)
known = known_verdicts(submissions, verdicts)
programs = sorted({code for _, code in known})


class Scripted(Copy):
    def next_program(self, dialog, previous, random):
        return programs[(programs.index(previous) + 1) % len(programs)]


def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


assignments = {"double": Assignment.load(folder / "double")}
with Grader(1) as grader:
    before = peak()
    config = RolloutConfig(samples=1, steps=3, max_starts=starts)
    engine = lambda: Scripted("code", "summary")
    arguments = (dialogs, submissions, assignments, grader, config, folder / f"{starts}.parquet")
    rollouts = roll_out("copy", engine, *arguments, known=known)
    print(peak() - before, rollouts.select(pl.struct("dialog_id", "start").n_unique()).collect().item())
"""


@pytest.fixture
def many_starts(course: Course, assignments: dict[str, Assignment], tmp_path: Path) -> Path:
    """A folder with the tables of a class whose students hand in long programs, again and again."""
    programs = [
        f"def double(n):\n    return n + {number}\n" + f"# {number} is not two times n\n" * 120
        for number in range(PROGRAMS)
    ]
    rows = [
        {
            "submission_id": f"{student}/{order}",
            "course": "small",
            "semester": "two",
            "student": f"student {student}",
            "assignment": "double",
            "order": order,
            "code": programs[(7 * student + order) % PROGRAMS],
            "messages": [],
            "source_row": order,
        }
        for student in range(STUDENTS)
        for order in range(1, SUBMITTED + 1)
    ]
    submissions = pl.DataFrame(rows, schema=SUBMISSIONS)
    distinct = submissions.unique("code", maintain_order=True)
    graded = grade_table(distinct, assignments, tmp_path / "parts", workers=1, progress=False)
    by_code = distinct.select("submission_id", "code").join(graded, on="submission_id").drop("submission_id")
    verdicts = submissions.select("submission_id", "code").join(by_code, on="code").drop("code")
    config = SerializeConfig(max_length_z=None)
    dialogs, _ = serialize(submissions, verdicts, course, config, "code", "summary")
    for name, table in {"dialogs": dialogs, "submissions": submissions, "verdicts": verdicts}.items():
        table.write_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "double").symlink_to(course.file.parent / "assignments" / "double")
    return tmp_path


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_starts(many_starts: Path) -> None:
    grown = {}
    for starts in (300, 2000):
        command = [sys.executable, "-c", ROLL, str(many_starts), str(starts)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        grown[starts], rolled = map(float, done.stdout.split())
        assert rolled == starts

    assert grown[2000] < grown[300] + MEGABYTES, grown

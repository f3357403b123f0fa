"""`tutee context`, and the stage that serializes across assignments, on a student trained across them."""

import re
import subprocess
import sys

import polars as pl
import pytest

from flows.places import Places
from tutee_evaluator.context import CELLS

from .conftest import ATTEMPTS, Project

# In one process: the libraries take as long to import as such a small model takes to train.
COMMANDS = """
import sys
from flows.cli import main
for command in sys.argv[1:]:
    sys.argv = ["tutee", *command.split()]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


@pytest.fixture(scope="module")
def measured(make, tmp_path_factory) -> tuple[Project, str]:
    """A course in which everybody works on three assignments, one of them held out; and what was said."""
    project = make(tmp_path_factory.mktemp("context"))
    folder = project.add_course("small").parent
    log = pl.read_csv(folder / "log.csv")
    logs = [log]
    for number, name in enumerate(("again", "twice"), 1):
        (folder / "assignments" / name).mkdir()
        for file in (folder / "assignments/double").iterdir():
            text = file.read_text().replace("double", name)
            (folder / "assignments" / name / file.name).write_text(text)
        columns = {
            "assignment": pl.lit(name),
            "attempt": pl.col("attempt") + number * len(ATTEMPTS),
            "code": pl.col("code").str.replace_all("double", name),
        }
        logs.append(log.with_columns(**columns))
    pl.concat(logs).write_csv(folder / "log.csv")
    project.take_few_weights()
    project.edit("params.yaml", "serialize: {}", "serialize: {scope: course, split: both}")
    commands = ("source", "ingest", "grade", "serialize", "train base", "train sft")
    context = "context small sft --limit 3 --samples 2"
    run = subprocess.run(
        [sys.executable, "-c", COMMANDS, *(f"{command} small" for command in commands), context],
        cwd=project.folder,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return project, run.stdout + run.stderr


def test_the_gains_of_all_four_splits_are_said_and_written(measured) -> None:
    project, said = measured
    gains = pl.read_csv(Places("small", "few", project.folder).context)
    of_energy = gains.filter(score="energy")
    assert set(CELLS) < set(of_energy["stratum"])
    assert all(re.search(f"^{cell} +\\d ", said, re.MULTILINE) for cell in CELLS)
    for row in gains.iter_rows(named=True):
        assert row["gain"] == pytest.approx(row["alone"] - row["after_all"], abs=1e-9)


def test_a_turn_that_is_context_elsewhere_counts_once(measured) -> None:
    """Of a student who learns and has held-out work, whose dialog of the test split has all of it."""
    project, said = measured
    (line,) = re.findall(r"^serialize: (\d+) submissions .* of (\d+) turns", said, re.MULTILINE)
    turns = pl.read_parquet(Places("small", "few", project.folder).dialogs).filter(
        pl.col("feedback") != "none"
    )
    assert turns["turns"].list.len().sum() > int(line[1])
    assert line[0] == line[1] == "144"  # 2 semesters of 8 students, 3 assignments, 3 attempts

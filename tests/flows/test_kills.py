"""`tutee retrain` is killed at 12 places, one after another, and started again by the same command.

At each place the process of the flow gets a SIGKILL, which it cannot notice, and nobody else does: what it
has started must end by itself. Most places are seen from outside, in files, processes and MLflow's database.
Where a window is too short for that, the same command runs with one function replaced by one that kills its
own process (`DYING`). `pytest -s tests/flows/test_kills.py` prints the table of kills.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from flows import history
from flows.places import Places
from flows.registry import CHALLENGER, CHAMPION, TRAINED_IN, Registry
from flows.tracking import KIND, MODEL, RESULTS, TRAINING

from .results import packed_version

pytestmark = pytest.mark.long

COMMAND = [sys.executable, "-m", "flows.cli", "retrain", "small"]
# `tutee` with a function that kills its process when it is called for the n-th time: module, name, n.
DYING = """
import os, pkgutil, signal, sys
owner, name, calls = pkgutil.resolve_name(sys.argv[1]), sys.argv[2], [int(sys.argv[3])]
original = getattr(owner, name)
def dies(*arguments, **named):
    calls[0] -= 1
    if not calls[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **named)
setattr(owner, name, dies)
sys.argv[1:4] = []
from flows.cli import main
main()
"""
ENDS_S = 20  # until what a killed flow has started has ended


@dataclass
class Flow:
    """A retrain at work in a folder."""

    folder: Path
    process: "subprocess.Popen[bytes]"
    began: float

    @property
    def places(self) -> Places:
        return Places("small", "few", self.folder)

    def stage(self, *words: str) -> psutil.Process | None:
        """The process of a stage, by the words of its command."""
        for child in psutil.Process(self.process.pid).children():
            try:
                command = child.cmdline()
            except psutil.Error:
                continue
            if command[-len(words) - 2 :][: len(words)] == list(words) or command[-len(words) :] == [*words]:
                return child
        return None

    def grading(self, *words: str) -> str:
        """Says of a stage which processes it has started."""
        stage = self.stage(*words)
        try:
            children = stage.children(recursive=True) if stage else []
        except psutil.Error:
            return ""
        return "processes of its grader" if children else ""

    def has_written(self, *names: str) -> bool:
        """Whether files and folders are there, and are of this run."""
        paths = [self.folder / name for name in names]
        return all(path.exists() and path.stat().st_ctime > self.began for path in paths)

    def is_locked_in(self, stage: str) -> bool:
        """Whether dvc.lock has a stage."""
        lock = self.folder / "dvc.lock"
        return lock.exists() and f"\n  {stage}:" in lock.read_text()

    def runs(self, name: str) -> list[tuple[str, str]]:
        """MLflow's runs of a name: their states, and how many figures they have."""
        asked = (
            "SELECT status, (SELECT count(*) FROM metrics m WHERE m.run_uuid = r.run_uuid AND key = 'loss') "
            "FROM runs r WHERE name = ? ORDER BY start_time"
        )
        return [(status, figures) for status, figures in query(self.folder / "mlflow.db", asked, name)]


def query(database: Path, asked: str, *values: str) -> list[tuple[Any, ...]]:
    """What a database answers; nothing, while it has no such table."""
    if not database.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return connection.execute(asked, values).fetchall()
    except sqlite3.OperationalError:
        return []


@dataclass(frozen=True)
class Place:
    """Where a flow is killed: `seen` says what is there, and nothing while it is not yet.

    Or `dies`: the function at which it kills itself, and `seen` is asked afterwards.
    """

    name: str
    seen: Callable[[Flow], str]
    dies: tuple[str, str, str] | None = None


def source_begins(flow: Flow) -> str:
    return "its process" if flow.stage("source", "small") else ""


def ingest_at_work(flow: Flow) -> str:
    return "rows of the log, in scratch files" if any(flow.places.data.glob(".ingest/*")) else ""


def ends(stage: str, *outputs: str) -> Callable[[Flow], str]:
    def seen(flow: Flow) -> str:
        there = flow.has_written(*outputs) and not flow.is_locked_in(stage)
        return "its outputs, not in dvc.lock" if there else ""

    return seen


def grade_at_work(flow: Flow) -> str:
    return flow.grading("grade", "small")


def trains(method: str) -> Callable[[Flow], str]:
    def seen(flow: Flow) -> str:
        figures = [figures for status, figures in flow.runs(method) if status == "RUNNING"]
        return f"a run of MLflow, RUNNING, with {figures[-1]} losses" if any(figures[-1:]) else ""

    return seen


def rollout_at_work(flow: Flow) -> str:
    return flow.grading("rollout", "sft", "small")


def report_at_work(flow: Flow) -> str:
    written = flow.has_written("reports/small/few/report.html") and not flow.places.figures.exists()
    return "report.html, no figures" if written else ""


def results_begun(flow: Flow) -> str:
    return "its run in MLflow, RUNNING" if ("RUNNING", 0) in flow.runs(RESULTS) else ""


def versions_begun(flow: Flow) -> str:
    found = query(flow.folder / "mlflow.db", "SELECT version FROM model_versions")
    return f"its run, FINISHED, and {len(found)} of 2 versions" if len(found) == 1 else ""


def tags_and_aliases(flow: Flow) -> tuple[set[str], set[str]]:
    database = flow.folder / "mlflow.db"
    tags = {key for (key,) in query(database, "SELECT DISTINCT key FROM model_version_tags")}
    return tags, {
        alias for (alias,) in query(database, "SELECT DISTINCT alias FROM registered_model_aliases")
    }


def promoting(flow: Flow) -> str:
    tags, aliases = tags_and_aliases(flow)
    return "the gate's record, no champion" if "gate" in tags and aliases == {CHALLENGER} else ""


def bentos(places: Places) -> list[Path]:
    return [path for path in places.bentos.glob("bentos/tutee-small/*") if path.is_dir()]


def packing(flow: Flow) -> str:
    begun = any(flow.places.bentos.glob("building/scratch/*")) and not bentos(flow.places)
    return "a Bento's folder begun, no packed.json" if begun else ""


INGESTED = ("data/small/submissions.parquet", "data/small/account.json", "reports/small/data_docs")
KILLS = (
    Place("source begins", source_begins),
    Place("ingest at work", ingest_at_work),
    Place("ingest ends", ends("ingest@small", *INGESTED)),
    Place("grade at work", grade_at_work),
    Place("sft trains", trains("sft")),
    Place("sft ends", ends("sft@small-few", "models/small/few/sft")),
    Place("rollout sft at work", rollout_at_work),
    Place("report at work", report_at_work),
    Place("register: the run", results_begun),
    Place("register: versions", versions_begun, ("mlflow:MlflowClient", "create_model_version", "2")),
    Place("promote", promoting, ("flows.registry:Registry", "make_champion", "1")),
    Place("pack", packing),
)


@dataclass
class Kill:
    """A place, what was there, the processes that outlived the flow, and what the next run said."""

    place: str
    there: str
    alive: list[psutil.Process]
    next_run: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """A row of the table."""
        done = sum(line.endswith(": up to date") for line in self.next_run)
        steps = []
        for line in self.next_run:
            step = line.partition(": ")[0]
            if re.fullmatch("([a-z]+|rollout [a-z]+)", step) and step != "source" and step not in steps:
                if line.endswith(" before"):
                    steps.append(f"{step} was done")
                elif not line.endswith(": up to date"):
                    steps.append(step)
        went_on = ", ".join(steps[:3]) + (", ..." if steps[3:] else "") or "killed in the next stage"
        return f"{self.place:<20} {self.there:<42} {done:>2} up to date, then {went_on}"


def start(folder: Path, said: Path, dies: tuple[str, ...] = ()) -> "subprocess.Popen[bytes]":
    """The command, whose scratch files lie in a folder of their own, and whose key is known."""
    (folder / "../scratch").mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "TMPDIR": str((folder / "../scratch").resolve()),
        "TUTEE_KEY": "the key of these synthetic students",
    }
    command = [sys.executable, "-c", DYING, *dies, *COMMAND[3:]] if dies else COMMAND
    with said.open("wb") as out:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT)


def kill_at(place: Place, folder: Path, said: Path) -> Kill:
    """Runs the command until it is at a place, and kills it there."""
    began = time.time()
    flow = Flow(folder, start(folder, said, place.dies or ()), began)
    process, started, there = psutil.Process(flow.process.pid), set[psutil.Process](), ""
    while flow.process.poll() is None and not there:
        time.sleep(0.02)  # between two looks
        try:
            started.update(process.children(recursive=True))
        except psutil.NoSuchProcess:
            break
        there = "" if place.dies else place.seen(flow)
    flow.process.kill()
    assert flow.process.wait() == -signal.SIGKILL, f"{place.name}: not seen: {said.read_text()}"
    _, alive = psutil.wait_procs(started, timeout=ENDS_S)
    if place.dies:
        there = place.seen(flow)
    assert there, f"{place.name}: killed elsewhere: {said.read_text()}"
    return Kill(place.name, there, alive)


@dataclass
class Retrained:
    """Two equal projects: one that was killed at every place, and one that never was."""

    killed: Places
    whole: Places
    kills: list[Kill]


@pytest.fixture(scope="module")
def retrained(make: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Retrained:
    folders = [tmp_path_factory.mktemp(name) / "project" for name in ("killed", "whole")]
    for folder in folders:
        folder.mkdir()
        project = make(folder)
        project.add_course("small")
        project.take_few_weights()
        # Long enough for its losses to be sent while it trains.
        project.edit(
            "presets/few.yaml", "  micro_batch: 16\n  steps: 1\ntok", "  micro_batch: 16\n  steps: 150\ntok"
        )
        project.edit("params.yaml", "[base, para, sft, dpo, dapo]", "[base, para, sft]")
        project.edit(
            "params.yaml", "gate: {}", "gate: {min_coverage: 0, min_compiling: 0, max_unreadable: 1}"
        )
    killed, whole = folders
    said = whole / "../said"
    uninterrupted = start(whole, said)
    kills: list[Kill] = []
    for number, place in enumerate(KILLS):
        kills.append(kill_at(place, killed, killed / f"../said-{number}"))
    last = start(killed, killed / f"../said-{len(KILLS)}")
    assert last.wait() == 0, (killed / f"../said-{len(KILLS)}").read_text()
    assert uninterrupted.wait() == 0, said.read_text()
    for number, kill in enumerate(kills, 1):
        kill.next_run = (killed / f"../said-{number}").read_text().splitlines()
        print(kill)
    return Retrained(Places("small", "few", killed), Places("small", "few", whole), kills)


def test_no_process_outlives_a_killed_flow(retrained: Retrained) -> None:
    assert {kill.place: kill.alive for kill in retrained.kills if kill.alive} == {}


def test_every_next_run_goes_on(retrained: Retrained) -> None:
    """No run asks for anything but the command: the only errors are those of kills."""
    said = [line for kill in retrained.kills for line in kill.next_run]
    assert [line for line in said if line.startswith("tutee: ") or "Traceback" in line] == []


def outputs(places: Places) -> dict[str, str]:
    """The hashes of all outputs, as dvc.lock has them, but of Data Docs, which hold the time of the run."""
    stages = yaml.safe_load((places.root / "dvc.lock").read_text())["stages"].values()
    outs = {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}
    del outs["reports/small/data_docs"]
    return outs


def test_its_tables_models_and_reports_are_those_of_a_run_that_nobody_killed(retrained: Retrained) -> None:
    killed, whole = outputs(retrained.killed), outputs(retrained.whole)
    assert {"data/small/verdicts.parquet", "models/small/few/sft", "reports/small/few/tables"} <= whole.keys()
    assert killed == whole


def versions(places: Places) -> list[tuple[Any, ...]]:
    registry = Registry(places)
    told = {CHAMPION: registry.get_by_alias(CHAMPION), CHALLENGER: registry.get_by_alias(CHALLENGER)}
    aliases = {alias: version.number for alias, version in told.items() if version}
    return [
        (
            version.number,
            version.method,
            version.fingerprint,
            version.tags[MODEL],
            version.tags.get("gate"),
            registry.metrics(version),
            [text.partition("\n")[0] for _, text in history.events(version.tags)],
            [alias for alias, number in aliases.items() if number == version.number],
        )
        for version in registry.versions()
    ]


def test_the_same_versions_are_registered_decided_on_and_promoted_once(retrained: Retrained) -> None:
    assert versions(retrained.killed) == versions(retrained.whole)


def test_mlflow_has_one_whole_run_of_the_results_and_none_that_is_running(retrained: Retrained) -> None:
    registry = Registry(retrained.killed)
    experiment = registry.client.get_experiment_by_name("tutee-small").experiment_id
    runs = registry.client.search_runs([experiment])
    assert {run.info.status for run in runs} == {"FINISHED", "FAILED"}
    results = [run for run in runs if run.data.tags[KIND] == RESULTS and run.info.status == "FINISHED"]
    assert [run.info.run_id for run in results] == [registry.versions()[0].run_id]
    for version in registry.versions():
        training = registry.client.get_run(version.tags[TRAINED_IN])
        assert (training.info.status, training.data.tags[KIND]) == ("FINISHED", TRAINING)


def test_prefect_calls_every_killed_run_crashed(retrained: Retrained) -> None:
    database = retrained.killed.prefect / "prefect.db"
    runs = query(database, "SELECT state_type FROM flow_run ORDER BY start_time")
    assert [state for (state,) in runs] == ["CRASHED"] * len(KILLS) + ["COMPLETED"]
    tasks = query(database, "SELECT name, state_type FROM task_run WHERE state_type = 'RUNNING'")
    assert tasks == []


def test_one_bento_is_packed_and_noted(retrained: Retrained) -> None:
    places = retrained.killed
    noted = json.loads(places.packed.read_text())
    assert [places.bentos / noted["folder"]] == bentos(places)
    assert packed_version(places) == Registry(places).champion().number


def files(places: Places) -> set[str]:
    """The files of a project, without the names that differ from run to run."""
    homes = ("data", "models", "reports", "bentos", ".dvc")
    found = [path for home in homes for path in (places.root / home).rglob("*")]
    names = {path.relative_to(places.root).as_posix() for path in found if path.is_file()}
    names = {name for name in names if not re.match(r"\.dvc/cache/files/md5/../\w{30}(\.dir)?$", name)}
    return {re.sub("/tutee-small/[a-z0-9]{16}", "/tutee-small/BENTO", name) for name in names}


def test_no_part_of_a_file_is_left_behind(retrained: Retrained) -> None:
    assert files(retrained.killed) ^ files(retrained.whole) == set()
    scratch = [
        {path.name for path in (places.root / "../scratch").iterdir()}
        for places in (retrained.killed, retrained.whole)
    ]
    assert scratch[0] - scratch[1] == set()

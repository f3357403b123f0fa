"""What `tutee status` says of a course: its semesters, stages, versions, runs and disk."""

import shutil
from collections.abc import Iterator
from concurrent.futures import Executor
from datetime import datetime
from pathlib import Path

from flows.environment import WRITTEN_FOLDERS, disk_bytes
from flows.parameters import Setup
from flows.pipeline import Pipeline
from flows.places import Places
from flows.server import scheduled_server
from flows.version_lines import local_time, version_lines
from flows.watch import changes
from tutee_grader.errors import InputError
from tutee_grader.files import scan_tables
from tutee_grader.verdict import VERDICT_COLUMNS, VERDICTS
from tutee_serializer.errors import LogError
from tutee_serializer.ingest.account import RowAccount
from tutee_serializer.ingest.drift import validate_errors
from tutee_serializer.ingest.source import read_inputs
from tutee_serializer.schemas import SUBMISSIONS


def status_lines(setup: Setup, beside: Executor) -> Iterator[str]:
    """The lines, each with its heading; `beside` asks MLflow meanwhile."""
    places = setup.places
    versions = beside.submit(version_lines, places)
    yield from _semesters(setup)
    yield from _log(setup)
    yield from _stages(places)
    yield from versions.result()
    yield from _next_runs(places)
    yield _disk(places.root)


def _semesters(setup: Setup) -> Iterator[str]:
    places = setup.places
    if not places.account.exists():
        yield f"semesters   not read yet; `tutee retrain {places.course}` does"
        return
    try:
        account = RowAccount.load(places.account)
    except InputError as error:
        yield f"semesters   {error}"
        return
    for line in account.semesters:
        yield f"semesters   {line.removeprefix('semesters: ')}"
    for warning in [*account.warnings, *_drift_of_errors(setup, account)]:
        yield f"drift       {warning.removeprefix('drift: ')}"


def _drift_of_errors(setup: Setup, account: RowAccount) -> list[str]:
    places, config = setup.places, setup.parameters.ingest
    if not (places.submissions.exists() and places.verdicts.exists()):
        return []
    try:
        submissions = scan_tables({places.submissions: "ingest"}, SUBMISSIONS)
        verdicts = scan_tables({places.verdicts: "grade"}, VERDICTS)
    except InputError as error:
        return [str(error)]
    return validate_errors(
        account,
        submissions.select("submission_id", "semester").collect(),
        verdicts.select("submission_id", *VERDICT_COLUMNS).collect(),
        config.warn_drift,
        {},
    )


def _log(setup: Setup) -> Iterator[str]:
    """Which input files differ from those that the last retrain read."""
    try:
        now = read_inputs(setup.course)
    except LogError as error:
        yield f"log         {error}"
        return
    for name, how in changes(now, setup.places.inputs).items():
        yield f"log         {name}: {how} since the last retrain"


def _stages(places: Places) -> Iterator[str]:
    pipeline = Pipeline.of(places)
    outdated = pipeline.out_of_date()
    yield f"stages      {len(pipeline.stages) - len(outdated)} of {len(pipeline.stages)} are up to date"
    for stage, reasons in outdated.items():
        yield f"stage       {stage}: {reasons}"


def _next_runs(places: Places) -> Iterator[str]:
    """Those that the schedule of this folder has planned."""
    import httpx

    address = scheduled_server(places.prefect)
    if address is None:
        yield f"next run    no schedule is at work here; `tutee schedule {places.course}` starts one"
        return
    answer = httpx.post(
        f"{address}/flow_runs/filter",
        json={
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
            "deployments": {"name": {"any_": [places.course]}},
            "flows": {"name": {"any_": ["retrain"]}},
            "sort": "EXPECTED_START_TIME_ASC",
            "limit": 1,
        },
        timeout=30,
    )
    if not answer.is_success:
        yield f"next run    unknown: Prefect's server at {address} answers {answer.status_code}; ask again"
        return
    for run in answer.json():
        yield f"next run    {local_time(datetime.fromisoformat(run['expected_start_time']).timestamp())}"


def _disk(root: Path) -> str:
    sizes = {name: disk_bytes(root / name) for name in WRITTEN_FOLDERS}
    parts = [f"{name} {size / 1e6:,.0f} MB" for name, size in sizes.items()]
    return f"disk        {', '.join(parts)}; {shutil.disk_usage(root).free / 1e9:,.1f} GB are free"

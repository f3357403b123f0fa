"""The Prefect flow `retrain`: from a course's logs to a promoted, packed artificial student."""

import time
from functools import partial
from typing import Any

import polars as pl
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun
from prefect.logging.handlers import APILogWorker
from prefect.runtime import flow_run
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import State

from flows import release
from flows.parameters import Setup, load
from flows.pipeline import Pipeline
from flows.places import Places
from flows.registry import CHAMPION, Registry
from tutee_evaluator.report.tables import results_table
from tutee_grader.files import read_table

# Exit codes of commands that have reported what is wrong; a retry would only repeat it.
EXPLAINED = (1, 2, 3)
SETTLE_S = 10


def retrain(course: str, preset: str | None = None) -> None:
    """Runs the flow, and returns when Prefect has recorded it."""
    # Before the flow begins: Prefect's server needs as long to start as these need to be imported.
    setup = load(course, preset)
    places = setup.places
    pipeline, registry = Pipeline.of(places), Registry(places)
    # A heartbeat costs a second at the end of every flow, and nothing here watches for it.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        try:
            _retrain(setup, pipeline, registry)
        finally:
            APILogWorker.drain_all(timeout=SETTLE_S)


def _is_worth_a_retry(_: Any, __: TaskRun, state: State) -> bool:
    return getattr(state.result(raise_on_failure=False), "exit_code", None) not in EXPLAINED


# What was killed from outside (no memory left, a network share away) may well pass the second time.
_step = partial(
    task, retries=1, retry_delay_seconds=1, retry_condition_fn=_is_worth_a_retry, cache_policy=NO_CACHE
)


@flow(name="retrain", flow_run_name="{setup.course.name} {setup.preset.name}", validate_parameters=False)
def _retrain(setup: Setup, pipeline: Pipeline, registry: Registry) -> None:
    places = pipeline.places
    for stage in pipeline.stages:
        _run.with_options(task_run_name=stage)(pipeline, stage)
    metrics = read_table(places.metrics, "report")
    table = results_table(metrics, list(setup.parameters.compared))
    create_markdown_artifact(f"```\n{table}\n```", key=f"results-{setup.course.name}")
    _register(setup, pipeline, registry, metrics)
    _promote(setup, pipeline, registry, metrics)
    _pack(setup, registry)
    _settle(len(pipeline.stages) + 3)
    print(f"\n{table}\n")
    print(_ending(setup, places, registry))


@_step(name="stage")
def _run(pipeline: Pipeline, stage: str) -> None:
    started = time.monotonic()
    if pipeline.run(stage):
        get_run_logger().info("ran for %.1f s", time.monotonic() - started)
    else:
        get_run_logger().info("up to date")
        name, _, of = stage.partition("@")
        method = of.removeprefix(pipeline.places.course).removeprefix(f"-{pipeline.places.preset}")
        print(f"{name}{method.replace('-', ' ', 1)}: up to date", flush=True)


@_step(name="register", task_run_name="register")
def _register(setup: Setup, pipeline: Pipeline, registry: Registry, metrics: pl.DataFrame) -> None:
    versions, new = release.register(setup, pipeline, registry, metrics)
    numbers = ", ".join(f"{method} v{version.number}" for method, version in versions.items())
    print(f"register: {registry.model}: {numbers}" + ("" if new else ", registered before"), flush=True)


@_step(name="promote", task_run_name="promote")
def _promote(setup: Setup, pipeline: Pipeline, registry: Registry, metrics: pl.DataFrame) -> None:
    decision, new = release.promote(setup, pipeline, registry, metrics)
    if new:
        create_markdown_artifact(f"```\n{decision}\n```", key=f"gate-{setup.course.name}")
        print(f"promote: {decision}", flush=True)
    else:
        print(f"promote: {decision.splitlines()[0]}, decided before", flush=True)


@_step(name="pack", task_run_name="pack")
def _pack(setup: Setup, registry: Registry) -> None:
    print(f"pack: {release.pack(setup, registry)}", flush=True)


def _ending(setup: Setup, places: Places, registry: Registry) -> str:
    course = setup.course
    lines = [f"report      {places.report}"]
    if course.synthetic:
        lines.append("students    synthetic: no student in this course is real")
    champion = registry.get_by_alias(CHAMPION)
    if champion is None:
        return "\n".join([*lines, "next        the report shows why the gate refused every student"])
    served = "make serve" if course.name == "demo" else f"make serve COURSE={course.file}"
    lines.append(f"registered  {registry.describe(champion)}, alias {CHAMPION}")
    return "\n".join([*lines, f"next        {served}"])


def _settle(tasks: int) -> None:
    """Waits until Prefect's server, which records in the background, has recorded that the tasks ended."""
    this_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.get_id()]))
    deadline = time.monotonic() + SETTLE_S
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            runs = client.read_task_runs(flow_run_filter=this_run)
            if sum(run.state is not None and run.state.is_final() for run in runs) >= tasks:
                return
            time.sleep(0.1)

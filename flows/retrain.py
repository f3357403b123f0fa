"""The Prefect flow `retrain`: from a course's logs to a promoted, packed artificial student."""

import base64
from collections import deque
from functools import cache, partial
from typing import Any

import httpx
import polars as pl
from prefect import Flow, flow, get_run_logger, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.blocks.core import Block
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.runtime import deployment
from prefect.states import Failed

from flows import event_log, mlflow_client, promotion, release
from flows.environment import DAY_S, check_disk, exclusive_lock, exit_with_parent
from flows.errors import RefusedError, StageError
from flows.event_log import logged
from flows.output import copied
from flows.parameters import Setup, load
from flows.pipeline import Pipeline
from flows.places import Places
from flows.prefect_client import answering, crash_dead_runs, recorded, settle
from flows.promotion import Released
from flows.registry import CHAMPION, Registry
from flows.versions import next_commands
from tutee_evaluator.metrics import METRICS
from tutee_evaluator.report.tables import results_table
from tutee_grader.files import read_table

# Exit codes of commands that have reported what is wrong; a retry would only repeat it.
EXPLAINED = (1, 2, 3)
# The state of a run whose challenger the gate refused: of the type FAILED, so that notifications see it.
REFUSED = "Refused"


def run(course: str, preset: str) -> None:
    """Runs the flow in this process; raises RefusedError where the gate refuses the challenger."""
    print(f"retrain: {course}, preset {preset}", flush=True)
    # Before the flow begins: Prefect's server needs as long to start as these need to be read.
    prepare(course, preset)
    with recorded():
        state = retrain(course, preset, return_state=True)
        if state.name == REFUSED:
            raise RefusedError(str(state.message))
        state.result()


@cache
def prepare(course: str, preset: str) -> tuple[Setup, Pipeline, Registry]:
    """What the flow works with, read once in a process."""
    mlflow_client.retry_for_a_minute()
    setup = load(course, preset)
    return setup, Pipeline.of(setup.places), Registry(setup.places)


def _is_worth_a_retry(_: Any, __: TaskRun, state: State) -> bool:
    error = state.result(raise_on_failure=False)
    # Prefect's client has tried again for a minute itself.
    return getattr(error, "exit_code", None) not in EXPLAINED and not isinstance(error, httpx.TransportError)


# What was killed from outside (no memory left, a network share away) may well pass the second time.
_step = partial(
    task,
    retries=2,
    retry_delay_seconds=[1, 10],
    retry_condition_fn=_is_worth_a_retry,
    timeout_seconds=DAY_S,
    cache_policy=NO_CACHE,
)


def _tell(flow: Flow[..., Any], run: FlowRun, state: State) -> None:
    """Sends word of a run that ended badly by the block that the parameter `notify` names."""
    if name := run.parameters.get("notify"):
        block: Any = Block.load(name)
        block.notify(f"{run.name}: {state.message}", subject=f"tutee {flow.name}: {state.name}")


@flow(flow_run_name="{course} {preset}", on_failure=[_tell], on_crashed=[_tell])
def retrain(course: str, preset: str, notify: str | None = None) -> State | None:
    """Brings a course's students up to date: stages, registration, gate, promotion, Bento.

    One works in a folder at a time; another waits, for a day at most. Ends in the state Refused where the
    gate refuses the challenger. `notify` is a block of Prefect's that sends messages, such as
    slack-webhook/teachers.
    """
    if deployment.id:
        exit_with_parent()
    check_disk()
    places = Places(course, preset)
    with exclusive_lock(places.retrain_lock, wait_s=DAY_S), logged(places, "retrain") as line:
        event_log.write(places, "retrain", outcome=event_log.STARTED)
        # Read only now: who was waited for may have changed everything.
        setup, pipeline, registry = prepare(course, preset)
        crash_dead_runs()
        during = partial(answering, resume=_resume(places))
        for stage in pipeline.stages:
            with during(stage):
                _run.with_options(task_run_name=stage)(pipeline, stage)
        metrics = read_table(setup.places.metrics, METRICS, "report")
        table = results_table(metrics, list(setup.parameters.compared))
        with during("results"):
            create_markdown_artifact(f"```\n{table}\n```", key=f"results-{course}")
        with during("register"):
            _register(setup, pipeline, registry, metrics)
        with during("promote"):
            released = _promote(setup, pipeline, registry, metrics)
        with during("pack"):
            _pack(setup, registry)
            settle(len(pipeline.stages) + 3)
        if not released.passed:
            line["outcome"] = event_log.REFUSED
    print(f"\n{table}\n")
    print(_ending(setup, registry), flush=True)
    if released.passed:
        return None
    return Failed(name=REFUSED, message=released.decision.splitlines()[0])


@_step(name="stage")
def _run(pipeline: Pipeline, stage: str) -> None:
    logger, last = get_run_logger(), deque[str](maxlen=1)
    places = pipeline.places

    def note(line: str) -> None:
        last.append(line)
        logger.info(line)

    try:
        with copied(note), logged(places, "stage", stage=stage) as line:
            if not pipeline.run(stage):
                line["outcome"] = event_log.UP_TO_DATE
                name, _, of = stage.partition("@")
                method = of.removeprefix(places.course).removeprefix(f"-{places.preset}")
                print(f"{name}{method.replace('-', ' ', 1)}: up to date", flush=True)
    except StageError as error:
        cause = last[0].removeprefix("tutee: ") if last else ""
        raise StageError(stage, error.exit_code, cause, _resume(places)) from error


@_step(name="register", task_run_name="register")
def _register(setup: Setup, pipeline: Pipeline, registry: Registry, metrics: pl.DataFrame) -> None:
    with logged(setup.places, "register") as line:
        versions, new = release.register(setup, pipeline, registry, metrics)
        line |= {"versions": sorted(version.number for version in versions.values()), "new": new}
    if new:
        for figure in sorted(setup.places.figures.glob("*.png")):
            url = f"data:image/png;base64,{base64.b64encode(figure.read_bytes()).decode()}"
            create_image_artifact(url, f"{figure.stem}-{setup.course.name}", f"{figure}: see the report")
    numbers = ", ".join(f"{method} v{version.number}" for method, version in versions.items())
    _say(f"register: {registry.model}: {numbers}" + ("" if new else ", registered before"))


@_step(name="promote", task_run_name="promote")
def _promote(setup: Setup, pipeline: Pipeline, registry: Registry, metrics: pl.DataFrame) -> Released:
    with logged(setup.places, "promote") as line:
        released = promotion.promote(setup, pipeline, registry, metrics)
        line["new"] = released.new
        if not released.passed:
            line["outcome"] = event_log.REFUSED
    if released.new:
        create_markdown_artifact(f"```\n{released.decision}\n```", key=f"gate-{setup.course.name}")
        _say(f"promote: {released.decision}")
    else:
        _say(f"promote: {released.decision.splitlines()[0]}, decided before")
    return released


@_step(name="pack", task_run_name="pack")
def _pack(setup: Setup, registry: Registry) -> None:
    with logged(setup.places, "pack"):
        _say(f"pack: {release.pack(setup, registry)}")


def _resume(places: Places) -> str:
    return f"tutee retrain {places.course} --preset {places.preset}"


def _say(text: str) -> None:
    print(text, flush=True)
    get_run_logger().info(text)


def _ending(setup: Setup, registry: Registry) -> str:
    course = setup.course
    lines = [f"report      {setup.places.report}"]
    if course.synthetic:
        lines.append("students    synthetic: no student in this course is real")
    champion = registry.get_by_alias(CHAMPION)
    number = champion.number if champion else None
    kept = [f"to keep     {command}" for command in next_commands(setup, number)]
    if champion is None:
        refused = "next        the report shows why the gate refused every student"
        return "\n".join([*lines, *kept, refused])
    served = "make serve" if course.name == "demo" else f"make serve COURSE={course.file}"
    lines.append(f"registered  {registry.describe(champion)}, alias {CHAMPION}")
    return "\n".join([*lines, *kept, f"next        {served}"])

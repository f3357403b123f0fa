"""What is asked of Prefect's API: to record runs to their end, and which runs were killed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.logging.handlers import APILogWorker
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Crashed

from flows.environment import causes
from flows.errors import UnreachableError
from flows.mlflow_client import without_credentials
from flows.processes import has_ended, this_process

SETTLE_S = 10
PROCESS = "process"  # a tag: process/HOST/ID/STARTED


@contextmanager
def recorded() -> Iterator[None]:
    """Runs flows in the block, and ends when Prefect has their logs.

    Raises UnreachableError where the API cannot be reached.
    """
    # A heartbeat costs a second at the end of every flow, and nothing here watches for it.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        try:
            yield
        except (httpx.TransportError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "Failed to reach API" not in str(error):
                raise
            # Prefect could not record that a flow failed; this is why it did.
            for cause in causes(error):
                if isinstance(cause, UnreachableError):
                    raise cause from cause.__cause__
            raise _unreachable(error) from error
        finally:
            APILogWorker.drain_all(timeout=SETTLE_S)


@contextmanager
def answering(stage: str, resume: str) -> Iterator[None]:
    """Runs a stage of a flow once Prefect answers: its server is missed before a stage, not hours later.

    Prefect's client tries for a minute. After that, before or in the block, UnreachableError is raised, which
    names the stage and `resume`, the command that goes on from there.
    """
    try:
        get_client(sync_client=True).hello()
        yield
    except httpx.TransportError as error:
        raise _unreachable(error, f" (stage {stage})", f"; `{resume}` goes on from there") from error


def _unreachable(error: Exception, where: str = "", resume: str = "") -> UnreachableError:
    address = without_credentials(str(PREFECT_API_URL.value()))
    return UnreachableError(
        f"PREFECT_API_URL: Prefect at {address} cannot be reached ({error}){where}; start it, correct the "
        f"address, or unset the variable: then tutee starts a server of its own{resume}"
    )


def crash_dead_runs() -> None:
    """Notes which process the present run is of, and marks those Crashed whose process here was killed."""
    running = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])))
    with get_client(sync_client=True) as client:
        present = client.read_flow_run(flow_run.get_id())
        client.update_flow_run(present.id, tags=[*present.tags, "/".join((PROCESS, *this_process()))])
        for run in client.read_flow_runs(flow_run_filter=running):
            names = [tag.split("/")[1:] for tag in run.tags if tag.startswith(f"{PROCESS}/")]
            if any(has_ended(*name) for name in names):
                ended = Crashed(message="its process ended without reporting it: it was killed")
                client.set_flow_run_state(run.id, ended, force=True)
                of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
                for step in client.read_task_runs(flow_run_filter=of_run):
                    if step.state is None or not step.state.is_final():
                        client.set_task_run_state(step.id, ended, force=True)


def settle(tasks: int) -> None:
    """Waits until Prefect's server, which records in the background, has recorded that the tasks ended."""
    this_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.get_id()]))
    deadline = time.monotonic() + SETTLE_S
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            runs = client.read_task_runs(flow_run_filter=this_run)
            if sum(run.state is not None and run.state.is_final() for run in runs) >= tasks:
                return
            time.sleep(0.1)

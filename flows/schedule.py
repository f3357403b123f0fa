"""What `tutee schedule` serves: Prefect deployments that retrain, watch, promote and roll back a course."""

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.runner import Runner
from prefect.states import Completed, Failed

from flows.environment import DAY_S, exclusive_lock
from flows.experiment import PAGE, Experiment, run_experiment
from flows.parameters import load
from flows.places import Places
from flows.prefect_client import recorded
from flows.release import promote_again, roll_back
from flows.retrain import REFUSED, retrain
from flows.watch import look
from tutee_evaluator.experiments.page import Results, answer


@flow(flow_run_name="{course} {preset}")
def watch(course: str, preset: str) -> State:
    """Looks for new and changed logs of a course, and starts its deployment of `retrain` where there are."""
    setup = load(course, preset, logs=False)
    changed = look(setup.course, setup.places.inputs, setup.places.watched)
    if not changed:
        return Completed(message="nothing new")
    run = run_deployment(f"retrain/{course}", timeout=0, as_subflow=False)
    message = f"{', '.join(changed)}: run {run.name} retrains"
    get_run_logger().info(message)
    return Completed(message=message)


@flow(flow_run_name="{course} {preset}")
def promote(course: str, preset: str, because: str | None = None) -> State:
    """Puts the best of the present results to the gate again; `because` promotes it even if it is refused."""
    with exclusive_lock(Places(course).retrain_lock, wait_s=DAY_S):
        released, packed = promote_again(course, preset, because)
    message = released.decision.splitlines()[0]
    return Completed(message=message) if packed else Failed(name=REFUSED, message=message)


@flow(flow_run_name="{course}")
def rollback(course: str, because: str) -> State:
    """Makes the champion before the present one champion again."""
    with exclusive_lock(Places(course).retrain_lock, wait_s=DAY_S):
        champion, _ = roll_back(course, because)
    return Completed(message=champion)


@flow(flow_run_name="{file}")
def experiment(file: str) -> State:
    """Plays the feedback policies of an experiment's file on an artificial class."""
    found = Experiment.load(Path(file))
    words = answer(Results(run_experiment(found), found.config.primary))
    get_run_logger().info(f"{' '.join(words)} {found.folder / PAGE}")
    return Completed(message=words[0])


@dataclass(frozen=True)
class Plan:
    """When a course is retrained (`cron`, in UTC) and how often its logs are looked at."""

    course: str
    preset: str
    cron: str
    watch_every: timedelta
    notify: str | None = None


def deployments(plan: Plan) -> list[RunnerDeployment]:
    """The course's deployments: `retrain`, `watch`, `promote`, `rollback`, `experiment`, called by its name.

    One of each works at a time.
    """
    of_course: dict[str, Any] = {"course": plan.course, "preset": plan.preset}
    shared: dict[str, Any] = {
        "name": plan.course,
        "entrypoint_type": EntrypointType.MODULE_PATH,
        "concurrency_limit": 1,
    }
    return [
        retrain.to_deployment(**shared, cron=plan.cron, parameters={**of_course, "notify": plan.notify}),
        watch.to_deployment(**shared, interval=plan.watch_every, parameters=of_course),
        promote.to_deployment(**shared, parameters=of_course),
        rollback.to_deployment(**shared, parameters={"course": plan.course}),
        experiment.to_deployment(**shared),
    ]


def serve_plans(plans: Sequence[Plan]) -> None:
    """Serves the courses' deployments until it is stopped; raises as `recorded` does."""
    with recorded():
        runner = _Runner(pause_on_shutdown=True)
        for plan in plans:
            for deployment in deployments(plan):
                runner.add_deployment(deployment)
        with suppress(KeyboardInterrupt):
            asyncio.run(runner.start())


class _Runner(Runner):
    def handle_sigterm(self, *_: Any, **__: Any) -> None:
        """Ends as Ctrl-C does: Prefect's own handler never awaits the end, and hangs."""
        signal.raise_signal(signal.SIGINT)

"""A training as a run of MLflow while it trains, in mlflow.db or on the server of MLFLOW_TRACKING_URI."""

import itertools
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flows.mlflow_client import (
    connect,
    experiment_id,
    fail_dead_runs,
    mark_failed,
    process_tags,
    reachable,
    without_credentials,
)
from flows.places import Places
from tutee_grader.errors import TuteeError
from tutee_grader.files import folder_hash

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

    from tutee_trainer.method import Method
    from tutee_trainer.training import TrainingJob, TrainingResult

KIND, TRAINING, RESULTS, EXPERIMENT = "kind", "training", "results", "experiment"
# The hash of the model's folder: by it a registered version finds the training that made it.
MODEL = "model"
BASE = "base_model"  # of a version: the same of its base
CONTINUES = "continues"
SEND_S, SYSTEM_S = 2, 10
BATCH = 1000  # the most metrics that MLflow takes at once


def train(method: "Method", job: "TrainingJob", places: Places) -> "TrainingResult":
    """Trains by `method`, as a run of MLflow that can be watched meanwhile.

    Raises UnavailableError, before any training, where MLflow cannot be reached. Once training has begun it
    ends whatever becomes of MLflow: figures wait until it is back, and where it is not, one warning says what
    it lacks. Of several processes that train together the first one alone has a run.
    """
    if int(os.environ.get("RANK", "0")):
        return method.train(job)
    run = TrainingRun.start(method, job, places)
    try:
        result = method.train(replace(job, tracker=run))
    except BaseException as error:
        message = str(error) if isinstance(error, TuteeError) else f"{type(error).__name__}: {error}"
        run.fail(message)
        raise
    run.finish(result)
    return result


class TrainingRun:
    """The run of one training. Figures are sent by a thread, so that training never waits for MLflow."""

    def __init__(self, client: "MlflowClient", run: "Run", before: "Run | None") -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self.client, self.id = client, str(run.info.run_id)
        self._name, self._before = str(run.info.run_name), before
        self._waiting: list[Metric] = []
        self._lock = threading.Lock()
        self._warned = False
        self._ended = threading.Event()
        # Read by the thread below: its own thread gives up for good when one call fails.
        self._system = SystemMetricsMonitor(self.id, tracking_uri=client.tracking_uri)
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._started, self._cpu = time.perf_counter(), time.process_time()
        self._thread.start()

    @classmethod
    def start(cls, method: "Method", job: "TrainingJob", places: Places) -> "TrainingRun":
        """Makes the run. Raises UnavailableError where MLflow cannot be reached."""
        from mlflow.entities import Param

        from flows.provenance import JOB, provenance

        tags = {
            KIND: TRAINING,
            "course": places.course,
            "preset": places.preset,
            "method": method.name,
            "mlflow.source.name": f"tutee train {method.name} {places.course} --preset {places.preset}",
            "mlflow.source.type": "LOCAL",
            **provenance(places, method.name),
            **process_tags(),
        }
        client = connect(places)
        with reachable():
            experiment = experiment_id(client, places)
            fail_dead_runs(client, experiment)
            same = client.search_runs(
                [experiment], f"tags.{JOB} = '{tags[JOB]}'", order_by=["start_time DESC"], max_results=1
            )
            run = client.create_run(experiment, tags=tags, run_name=method.name)
            params = [Param(name, str(value)) for name, value in _parameters(method, job).items()]
            client.log_batch(run.info.run_id, params=params)
        return cls(client, run, same[0] if same and same[0].info.status == "FAILED" else None)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Has the figures of a step sent; returns at once."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with self._lock:
            self._waiting += [Metric(name, float(value), now, step) for name, value in values.items()]

    def finish(self, result: "TrainingResult") -> None:
        """Keeps the model and the totals, and marks the run FINISHED."""
        self.log(
            result.steps,
            {
                "total_examples": result.examples,
                "total_steps": result.steps,
                "total_tokens": result.tokens,
                "total_loss": result.loss,
                "total_seconds": time.perf_counter() - self._started,
                "total_cpu_seconds": time.process_time() - self._cpu,
            },
        )
        self._stop()
        try:
            self.client.log_artifacts(self.id, str(result.folder), self._name)
            self.client.set_tag(self.id, MODEL, folder_hash(result.folder))
            self.client.set_terminated(self.id)
        except Exception as error:  # noqa: BLE001 - whatever a server's client raises, the model is trained
            self._say(error, f"run {self.id} keeps no model; it is in {result.folder}")

    def fail(self, message: str) -> None:
        """Marks the run FAILED, with a message."""
        self._stop()
        try:
            mark_failed(self.client, self.id, message)
        except Exception as error:  # noqa: BLE001 - the error that ended the training is the one to report
            self._say(error, f"run {self.id} is not marked FAILED")

    def _work(self) -> None:
        for beat in itertools.count():
            if self._ended.wait(SEND_S):
                return
            if beat % (SYSTEM_S // SEND_S) == 0:
                self._measure_system(beat * SEND_S)
            self._send()

    def _measure_system(self, second: int) -> None:
        try:
            self._system.collect_metrics()
            values = self._system.aggregate_metrics()
        except Exception as error:  # noqa: BLE001 - a driver that fails is no reason to stop sending
            self._warn(error, "some system metrics are missing")
        else:
            self.log(second, {f"system/{name}": value for name, value in values.items()})
        for monitor in self._system.monitors:
            monitor.clear_metrics()

    def _send(self) -> bool:
        """Sends what waits; what cannot be sent waits on. Says whether all was sent."""
        with self._lock:
            batch, self._waiting = self._waiting, []
        try:
            self._log(batch)
            steps = [metric.step for metric in batch if not metric.key.startswith("system/")]
            if self._before is not None and steps:
                self._copy_from(self._before, min(steps))
                self._before = None
        except Exception as error:  # noqa: BLE001 - whatever a server's client raises, training goes on
            with self._lock:
                self._waiting = batch + self._waiting
            self._warn(error, "training goes on, and its figures wait")
            return False
        return True

    def _log(self, metrics: "list[Metric]") -> None:
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(self.id, metrics=metrics[start : start + BATCH])

    def _copy_from(self, before: "Run", first: int) -> None:
        """Takes over the steps before `first` of the same job's last run, which ended too early."""
        names = [name for name in before.data.metrics if not name.startswith("system/")]
        history = [self.client.get_metric_history(before.info.run_id, name) for name in names]
        if earlier := [metric for metrics in history for metric in metrics if metric.step < first]:
            self._log(earlier)
            self.client.set_tag(self.id, CONTINUES, before.info.run_id)

    def _stop(self) -> None:
        self._ended.set()
        self._thread.join()
        if not self._send():
            print(f"{self._name}: {len(self._waiting)} figures of run {self.id} are lost", file=sys.stderr)

    def _warn(self, error: Exception, consequence: str) -> None:
        """Says while the training goes on that something fails, once."""
        if not self._warned:
            self._warned = True
            self._say(error, consequence)

    def _say(self, error: Exception, consequence: str) -> None:
        address, words = without_credentials(self.client.tracking_uri), without_credentials(str(error))
        print(f"{self._name}: MLflow at {address} fails ({words}); {consequence}", file=sys.stderr)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as MLflow takes them: one level, names joined by dots."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _parameters(method: "Method", job: "TrainingJob") -> dict[str, Any]:
    """The sections of the preset that the method reads, as dvc.yaml lists them."""
    sections = {"model", "dialog", method.section, "lora" if method.start else "tokenizer"}
    return flat({"preset": job.preset.name, **job.preset.model_dump(mode="json", include=sections)})

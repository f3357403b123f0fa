"""MLflow's client: its address, a course's experiment, and the runs whose processes have ended."""

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from flows.places import Places
from flows.processes import has_ended, this_process
from tutee_grader.errors import UnavailableError

if TYPE_CHECKING:
    from mlflow import MlflowClient

ADDRESS = "MLFLOW_TRACKING_URI"
ERROR = "error"
NOTE = "mlflow.note.content"  # MLflow's page shows this tag as the run's description, as Markdown
# MLflow's page has another view for experiments that call language models.
TRAINS_MODELS = {"mlflow.experimentKind": "custom_model_development"}
HOST, PROCESS, STARTED = "process.host", "process.id", "process.started"
TAG_LENGTH = 5000
# How long a database that another process holds locked is waited for; MLflow itself waits as long.
LOCKED_S = 20.0
# How often a call to a server that is away is repeated, with pauses of 0, 4, 8, 16, 32 s: by default MLflow
# holds every call up for minutes. Who waits at a terminal is told soon; a retrain waits for a minute.
RETRIES, RETRIES_OF_RETRAIN = 2, 5


def retry_for_a_minute() -> None:
    """Has this process, and those it starts, wait for a minute for a server that is away.

    Called before `connect`.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(RETRIES_OF_RETRAIN))


def connect(places: Places) -> "MlflowClient":
    """MLflow's client for the server that MLFLOW_TRACKING_URI names, or for mlflow.db below `places.root`.

    Raises UnavailableError where the server cannot be reached, where another process holds mlflow.db locked,
    or where another version of MLflow wrote it.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # It shows in full, as they are raised, the errors that callers explain.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(RETRIES))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    address = os.environ.get(ADDRESS) or f"sqlite:///{places.mlflow_database.resolve()}"
    if not os.environ.get(ADDRESS):
        _follow_a_move(places)
    try:
        with reachable():
            client = MlflowClient(tracking_uri=address)
            client.search_experiments(max_results=1)
    except MlflowException as error:
        if "out-of-date database schema" not in str(error):
            raise
        raise UnavailableError(
            f"{places.mlflow_database}: another version of MLflow wrote it; copy it, then "
            f"`.venv/bin/mlflow db upgrade sqlite:///{places.mlflow_database}` brings it to this one (that "
            "of a newer one cannot be taken back: restore the copy from before)"
        ) from error
    return client


def is_used(places: Places) -> bool:
    """Whether MLflow may hold runs of the courses here."""
    return bool(os.environ.get(ADDRESS)) or places.mlflow_database.exists()


def _follow_a_move(places: Places) -> None:
    """Corrects the paths of the artifacts in mlflow.db where this folder was moved, copied or restored.

    MLflow writes down where artifacts lie as absolute paths: without this a moved folder would not find its
    models, and a copy would write into the original.
    """
    if not places.mlflow_database.exists():
        return
    here = places.mlflow_artifacts.resolve().parent.as_uri()
    with closing(sqlite3.connect(places.mlflow_database, LOCKED_S)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
            return  # MLflow was killed while it made its tables; it goes on with them
        asked = "SELECT DISTINCT artifact_location FROM experiments WHERE name LIKE 'tutee-%'"
        folders = {location.rpartition("/")[0] for (location,) in database.execute(asked)}
        for there in folders - {here}:
            for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE substr({column}, 1, ?) = ?",
                    (here, len(there) + 1, len(there) + 1, f"{there}/"),
                )
            database.commit()


@contextmanager
def reachable() -> Iterator[None]:
    """Raises UnavailableError where the MLflow that MLFLOW_TRACKING_URI names fails in the block."""
    try:
        yield
    except Exception as error:
        address = os.environ.get(ADDRESS)
        if not address:
            raise
        raise UnavailableError(
            f"{ADDRESS}: MLflow at {without_credentials(address)} cannot be used "
            f"({without_credentials(str(error))}); start it, correct the address, or unset the variable: "
            "then mlflow.db in this folder is used"
        ) from error


def experiment_id(client: "MlflowClient", places: Places) -> str:
    """The experiment of the course, `tutee-COURSE`, made where there is none."""
    name = f"tutee-{places.course}"
    with reachable():
        if experiment := client.get_experiment_by_name(name):
            return str(experiment.experiment_id)
        # A server has an artifact store of its own.
        where = None if os.environ.get(ADDRESS) else places.mlflow_artifacts.resolve().as_uri()
        return str(client.create_experiment(name, where, TRAINS_MODELS))


def process_tags() -> dict[str, str]:
    """Tags that say which process works on a run, so that others can tell whether it still does."""
    return dict(zip((HOST, PROCESS, STARTED), this_process(), strict=True))


def fail_dead_runs(client: "MlflowClient", experiment: str) -> None:
    """Marks the runs FAILED that are RUNNING by their status, and whose process on this host has ended.

    A process that is killed cannot do so itself.
    """
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        tags = run.data.tags
        if HOST in tags and has_ended(tags[HOST], tags[PROCESS], tags[STARTED]):
            message = (
                f"process {tags[PROCESS]} on {tags[HOST]} ended without reporting it: it was killed, or "
                "MLflow could not be reached when it ended"
            )
            mark_failed(client, run.info.run_id, message)


def mark_failed(client: "MlflowClient", run_id: str, message: str) -> None:
    """Marks a run FAILED, with why: in a tag, and on its page."""
    client.set_tag(run_id, ERROR, message[:TAG_LENGTH])
    client.set_tag(run_id, NOTE, f"Failed: {message}"[:TAG_LENGTH])
    client.set_terminated(run_id, "FAILED")


def without_credentials(text: str) -> str:
    """Addresses without the user and the password that may be part of them."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)

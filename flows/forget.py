"""Removes a student from everything that is kept: tables, reports, DVC's copies; and marks models."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from flows.course_log import names_student
from flows.mlflow_client import is_used
from flows.parameters import FILE as PARAMETERS
from flows.parameters import Parameters
from flows.places import Places
from flows.registry import Registry
from flows.repository import LOCK, open_repository
from serving.bundle import BUILDING
from tutee_evaluator.engines.baselines.revisions import FILE as REVISIONS
from tutee_evaluator.schemas import BASELINE_METHODS
from tutee_grader.errors import InputError, TuteeError
from tutee_serializer.course import Course
from tutee_serializer.ingest.privacy import (
    has_student,
    load_key,
    pseudonym,
    read_forgotten,
    remove_student,
    write_forgotten,
)


@dataclass(frozen=True)
class ForgetResult:
    """What was removed of a student, and which models were trained on them.

    `rows` counts the removed rows by table; `reports` and the baselines' rollouts were removed whole, because
    they show programs; `models` describes the registered versions that were marked; `courses` need a retrain;
    `before`: the student was forgotten before, and this run removed what an interrupted one had left.
    """

    pseudonym: str
    before: bool
    rows: dict[Path, int]
    reports: tuple[Path, ...]
    models: tuple[str, ...]
    courses: tuple[str, ...]


def forget(student: str, root: Path = Path()) -> ForgetResult:
    """Forgets a student, by the id in the log, in every course below `root`.

    The log itself, backups and DVC remotes are out of reach. What DVC keeps of earlier results goes too, for
    all courses: an old table would bring the student back. Raises InputError, and changes nothing, where no
    table and no log has the id, or the key of the pseudonyms is not the one that the tables were made with.
    """
    shared = Places("", root=root)
    student = student.strip()
    name = pseudonym(student, load_key(shared.key, shared.accounts))
    forgotten = read_forgotten(*shared.forgotten_lists)
    folders = sorted(path for path in (root / "data").glob("*") if path.is_dir())
    tables = (table for folder in folders for table in folder.rglob("*.parquet"))
    if name not in forgotten and not has_student(name, tables):
        _check_logs(student, root)
    write_forgotten(forgotten | {name}, shared.forgotten)
    rows: dict[Path, int] = {}
    for folder in folders:
        rows |= remove_student(name, sorted(folder.rglob("*.parquet")))
    courses = sorted({table.relative_to(root / "data").parts[0] for table in rows})
    # A calibrated student looks up what training students wrote, here, and as a version.
    homes = (root / "models", shared.mlflow_artifacts)
    looked_up = remove_student(name, sorted(path for home in homes for path in home.rglob(REVISIONS)))
    rows |= looked_up
    reports = []
    for course in courses:
        of_course = Places(course, root=root)
        presets = sorted(path.name for path in of_course.data.iterdir() if path.is_dir())
        shown = [of_course.data_docs, of_course.disagreements]
        for places in (Places(course, preset, root) for preset in presets):
            shown += [places.report, places.comparison, places.turing, places.rolling, places.compared]
            shown.append(places.learner_report)
            # Baselines submit what training students wrote.
            shown += [places.rollout(name) for name in BASELINE_METHODS]
        reports += [path for path in shown if path.exists()]
    # In a Bento nothing says whose the programs are that a student looks up; `students` is of tutee 0.2.
    bentos = (path for home in (BUILDING, "bentos/*/*", "students/*") for path in shared.bentos.glob(home))
    reports += sorted(path for path in bentos if any(path.rglob(REVISIONS)))
    for path in reports:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    # A verdict may quote what a program printed.
    for file in shared.verdict_cache.parent.glob(f"{shared.verdict_cache.name}*"):
        file.unlink()
    _remove_from_dvc({*rows, *reports, *(table.parent for table in looked_up)}, root)
    models = []
    if is_used(shared):
        for folder in folders:
            registry = Registry(Places(folder.name, root=root))
            models += [registry.describe(version) for version in registry.forget(name)]
    return ForgetResult(name, name in forgotten, rows, tuple(reports), tuple(models), tuple(courses))


def _check_logs(student: str, root: Path) -> None:
    """Raises InputError where no course's log that can be read has the student's id."""
    unread = []
    for name, file in Parameters.load(root / PARAMETERS).courses.items():
        try:
            if names_student(Course.load(root / file), Places(name, root=root).simulated, student):
                return
        except TuteeError as error:
            unread.append(f"\n  {error}")
    raise InputError(
        f"{student!r}: no table and no log holds this id, so nothing was changed; write it as the log does"
        + "".join(["; logs that could not be read:" if unread else "", *unread])
    )


def _remove_from_dvc(changed: set[Path], root: Path) -> None:
    """Removes the stages that made `changed` from DVC's lock file, then all copies of what is gone."""
    from dvc.dvcfile import Lockfile

    if not (root / LOCK).exists():
        return
    paths = {path.resolve() for path in changed}
    with open_repository(root) as repo:
        lock = Lockfile(repo, str(root / LOCK))
        for stage in repo.index.stages:
            if paths & {Path(out.fs_path).resolve() for out in stage.outs}:
                lock.remove_stage(stage)
    with open_repository(root) as repo:
        repo.gc(workspace=True, force=True)

"""Removes a student from everything that is kept: tables, reports, DVC's copies; and marks models."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from flows.mlflow_client import is_used
from flows.places import Places
from flows.registry import Registry
from tutee_evaluator.engines.baselines.revisions import FILE as REVISIONS
from tutee_evaluator.schemas import BASELINE_METHODS
from tutee_serializer.ingest.privacy import (
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
    they show programs; `models` describes the registered versions that were marked; `courses` need a retrain.
    """

    pseudonym: str
    rows: dict[Path, int]
    reports: tuple[Path, ...]
    models: tuple[str, ...]
    courses: tuple[str, ...]


def forget(student: str, root: Path = Path()) -> ForgetResult:
    """Forgets a student, by the id in the log, in every course below `root`.

    The log itself, backups and DVC remotes are out of reach. What DVC keeps of earlier results goes too, for
    all courses: an old table would bring the student back.
    """
    shared = Places("", root=root)
    name = pseudonym(student.strip(), load_key(shared.key))
    write_forgotten(read_forgotten(shared.forgotten) | {name}, shared.forgotten)
    folders = sorted(path for path in (root / "data").iterdir() if path.is_dir())
    rows: dict[Path, int] = {}
    for folder in folders:
        rows |= remove_student(name, sorted(folder.rglob("*.parquet")))
    courses = sorted({table.relative_to(root / "data").parts[0] for table in rows})
    # A calibrated student looks up what training students wrote, here, as a version, and where it is served.
    homes = (root / "models", shared.mlflow_artifacts, shared.bentos)
    looked_up = remove_student(name, sorted(path for home in homes for path in home.rglob(REVISIONS)))
    rows |= looked_up
    reports = []
    for course in courses:
        of_course = Places(course, root=root)
        presets = sorted(path.name for path in of_course.data.iterdir() if path.is_dir())
        shown = [of_course.data_docs, of_course.disagreements]
        for places in (Places(course, preset, root) for preset in presets):
            shown += [places.report, places.comparison, places.turing, places.rolling, places.compared]
            # Baselines submit what training students wrote.
            shown += [places.rollout(name) for name in BASELINE_METHODS]
        reports += [path for path in shown if path.exists()]
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
    return ForgetResult(name, rows, tuple(reports), tuple(models), tuple(courses))


def _remove_from_dvc(changed: set[Path], root: Path) -> None:
    """Removes the stages that made `changed` from DVC's lock file, then all copies of what is gone."""
    from dvc.dvcfile import Lockfile
    from dvc.repo import Repo

    if not (root / "dvc.lock").exists():
        return
    paths = {path.resolve() for path in changed}
    with Repo(str(root)) as repo:
        lock = Lockfile(repo, str(root / "dvc.lock"))
        for stage in repo.index.stages:
            if paths & {Path(out.fs_path).resolve() for out in stage.outs}:
                lock.remove_stage(stage)
    with Repo(str(root)) as repo:
        repo.gc(workspace=True, force=True)

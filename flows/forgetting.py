"""Takes a student out of all that is kept: tables, reports, the copies that DVC has; and marks models."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from flows.places import Places
from flows.registry import DATABASE, Registry
from tutee_serializer.ingest import privacy


@dataclass(frozen=True)
class Forgotten:
    """What was taken away of a student, and what learnt from them.

    `rows` counts those removed by table; `reports` were removed whole, because they show programs; `models`
    are the registered versions that are marked, in words; `courses` those whose next retrain makes anew
    what is missing.
    """

    pseudonym: str
    rows: dict[Path, int]
    reports: tuple[Path, ...]
    models: tuple[str, ...]
    courses: tuple[str, ...]


def forget(student: str, root: Path = Path()) -> Forgotten:
    """Forgets a student, by the id of the log, in every course below `root`.

    The log itself, backups and a remote of DVC's are out of reach. What DVC keeps of earlier results goes
    too, of every course: an old table there would bring the student back.
    """
    everywhere = Places("", root)
    taken = privacy.forget(student, everywhere)
    courses = sorted({table.relative_to(root / "data").parts[0] for table in taken.removed})
    reports = []
    for course in courses:
        places = Places(course, root)
        reports += [path for path in (places.report, places.data_docs) if path.exists()]
    for path in reports:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    # A verdict may quote what a program printed.
    for file in everywhere.verdict_cache.parent.glob(f"{everywhere.verdict_cache.name}*"):
        file.unlink()
    _drop_copies({*taken.removed, *reports}, root)
    models = []
    if (root / DATABASE).exists():
        for folder in sorted(path for path in (root / "data").iterdir() if path.is_dir()):
            registry = Registry(Places(folder.name, root))
            models += [registry.describe(version) for version in registry.forget(taken.pseudonym)]
    return Forgotten(taken.pseudonym, taken.removed, tuple(reports), tuple(models), tuple(courses))


def _drop_copies(changed: set[Path], root: Path) -> None:
    """Strikes the stages that made `changed` from DVC's lock file, then all it keeps that is not there."""
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

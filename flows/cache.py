"""What DVC's cache holds that nothing needs any more: neither the folder nor a kept version."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from flows.repository import LOCK, git, open_repository

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB
    from dvc_data.hashfile.hash_info import HashInfo


@dataclass(frozen=True)
class Unused:
    """Objects that nothing needs, by the database of the cache that holds them; `used` are the others.

    `comes_back` says in words which of them a remote has.
    """

    objects: "dict[HashFileDB, list[str]]"
    used: "set[HashInfo]"
    comes_back: str

    @property
    def count(self) -> int:
        return sum(len(names) for names in self.objects.values())

    @property
    def size(self) -> int:
        """Their bytes."""
        every = ((database, name) for database, names in self.objects.items() for name in names)
        return sum(Path(database.oid_to_path(name)).stat().st_size for database, name in every)

    def delete(self) -> None:
        """Deletes them."""
        from dvc_data.hashfile.gc import gc

        for database in self.objects:
            gc(database, self.used)


def find_unused(is_needed: Callable[[str], bool]) -> Unused | None:
    """The objects that may be deleted; None where the cache is no folder of DVC's own, so that others use it.

    What the workspace needs stays, and so does what the tips of branches, experiments, and those commits need
    of whose dvc.lock `is_needed` says so.
    """
    from dvc.scm import NoSCM

    with open_repository(Path()) as repo, repo.lock:
        if not Path(repo.cache.local_cache_dir).is_relative_to(repo.dvc_dir):
            return None
        in_git = not isinstance(repo.scm, NoSCM)
        locks = dict(_locks()) if in_git else {}
        commits = [commit for commit, lock in locks.items() if is_needed(lock)]
        # Forced: a folder that was never pulled has no list of its files here, and so none of them.
        found = repo.used_objs(revs=commits, all_branches=in_git, all_experiments=in_git, force=True)
        used = set().union(*found.values())
        names = {info.value for info in used}
        databases = [database for _, database in repo.cache.by_scheme() if database]
        unused = {database: [name for name in database.all() if name not in names] for database in databases}
        lost = {name for some in unused.values() for name in some} - _kept_by_git(repo, locks.values())
        return Unused(unused, used, _comes_back(repo, lost))


def _locks() -> Iterator[tuple[str, str]]:
    """The commits of all branches and tags that have a tag or changed dvc.lock, with what it was then."""
    changed = git("rev-list", "--branches", "--tags", "--", str(LOCK)).split()
    tagged = git("rev-list", "--branches", "--tags", "--simplify-by-decoration").split()
    for commit in dict.fromkeys([*changed, *tagged]):
        if git("ls-tree", "--name-only", commit, str(LOCK)):
            yield commit, git("show", f"{commit}:./{LOCK}")


def _kept_by_git(repo: "Repo", locks: Iterable[str]) -> set[str]:
    """The objects that git has too: DVC's cache of runs has copies of outputs that it leaves to git."""
    paths = {str(out) for out in repo.index.outs if not out.use_cache}
    parsed = (yaml.load(lock, yaml.CSafeLoader) for lock in locks)
    stages = (stage for lock in parsed for stage in lock["stages"].values())
    return {out["md5"] for stage in stages for out in stage.get("outs", []) if out["path"] in paths}


def _comes_back(repo: "Repo", names: Collection[str]) -> str:
    """Which of the objects the default remote has."""
    if not repo.config["core"].get("remote"):
        return "there is no remote, so they are gone for good"
    try:
        there = list(repo.cloud.get_remote_odb().list_oids_exists(names))
    except Exception as error:  # noqa: BLE001 - each kind of remote raises its own
        return f"the remote cannot be asked whether it has them ({error})"
    if len(there) == len(names):
        return "the remote has them all: `dvc pull` brings them back"
    return f"{len(names) - len(there):,} are not in the remote: `dvc push` first, or they are gone for good"

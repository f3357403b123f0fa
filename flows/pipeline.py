"""The pipeline as dvc.yaml writes it down: which stages a course has, and running one of them."""

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from flows.errors import StageError
from flows.places import Places
from flows.processes import has_lived_since
from flows.repository import LOCK, open_repository
from tutee_grader.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.repo.index import Index
    from dvc.stage import Stage


@dataclass(frozen=True)
class Pipeline:
    """The stages that lead to one course's report, in the order in which they run."""

    repo: "Repo"
    places: Places
    stages: Mapping[str, "Stage"]  # by address; each as dvc.lock had it when the pipeline was read

    @classmethod
    def of(cls, places: Places) -> "Pipeline":
        """Reads dvc.yaml below `places.root`.

        Raises InputError where the pipeline is broken or makes no report for the course.
        """
        from dvc.exceptions import DvcException
        from dvc.repo.reproduce import plan_repro
        from networkx import lexicographical_topological_sort

        # A stage's command is `tutee ...`: the one of this very environment.
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        try:
            repo = open_repository(places.root)
            index = _index(repo, places)
            final = [out.stage for out in index.outs if _is_at(out, places.report)]
            needed = index.graph.subgraph(plan_repro(index.graph, final))
        except DvcException as error:
            raise InputError(f"dvc.yaml, params.yaml or the preset: {error}") from error
        if not final:
            raise InputError(
                f"dvc.yaml: no stage writes {places.report}; is {places.course} listed in params.yaml?"
            )
        # Of the orders that work, that of dvc.yaml; DVC's own differs from process to process.
        written = {stage: place for place, stage in enumerate(index.stages)}
        order = lexicographical_topological_sort(needed.reverse(), key=written.__getitem__)
        return cls(repo, places, {stage.addressing: stage for stage in order})

    def run(self, stage: str) -> bool:
        """Runs one stage, if anything it depends on has changed; says whether it ran.

        Raises StageError where its command fails, with that command's exit code.
        """
        from dvc.lock import LockError
        from dvc.stage.exceptions import StageCmdFailedError

        found = self.stages[stage]
        try:
            # As `Repo.reproduce`, which would read the stages of all courses and presets first, for seconds.
            with self._locked():
                ran = found.reproduce() is not None
                # It takes more than a second, and `source`, which always runs, seldom has anything new.
                if ran and not self._is_recorded(found):
                    found.dump(update_pipeline=False)
            return ran
        except LockError as error:
            raise UnavailableError(f"{stage}: another dvc command is at work here: {error}") from error
        except StageCmdFailedError as error:
            # DVC gives it only in words.
            code = re.search(r"exited with (-?\d+)$", str(error))
            if code is None:
                raise
            raise StageError(stage, int(code[1])) from error

    def out_of_date(self) -> dict[str, str]:
        """Why the results of a stage are out of date, by stage.

        `source`, which always runs, is among them only where its files are not those that it wrote.
        """
        with self._locked():
            changed = {name: stage.status().get(name, []) for name, stage in self.stages.items()}
        reasons = {name: list(_reasons(changes)) for name, changes in changed.items()}
        return {name: ", ".join(words) for name, words in reasons.items() if set(words) - {"always changed"}}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds DVC's lock of the folder, which no killed process holds up."""
        with self.repo.lock:
            self._forget_killed()
            yield

    def _forget_killed(self) -> None:
        """Removes from DVC's note of who works on which file those that were killed.

        DVC knows them by their ids, which others may have been given since. A note that was cut short, by a
        kill or a full disk, is removed.
        """
        from dvc.rwlock import RWLOCK_FILE, RWLockFileCorruptedError, _edit_rwlock

        folder, hardlink = str(self.repo.tmp_dir), self.repo.config["core"].get("hardlink_lock", False)
        note = Path(folder, RWLOCK_FILE)
        if not note.exists():
            return
        written = note.stat().st_mtime
        try:
            with _edit_rwlock(folder, self.repo.fs, hardlink) as at_work:
                for path, writer in list(at_work["write"].items()):
                    if not has_lived_since(writer["pid"], written):
                        del at_work["write"][path]
                for readers in at_work["read"].values():
                    readers[:] = [reader for reader in readers if has_lived_since(reader["pid"], written)]
        except RWLockFileCorruptedError:
            note.unlink()

    def _is_recorded(self, stage: "Stage") -> bool:
        """Whether dvc.lock says of a stage that has run what is to be recorded of it."""
        from dvc.stage.serialize import to_lockfile

        lock = self.places.root / LOCK
        text = lock.read_text(encoding="utf-8") if lock.exists() else ""
        recorded = yaml.load(text, yaml.CSafeLoader) or {}
        return bool(recorded.get("stages", {}).get(stage.name) == to_lockfile(stage)[stage.name])

    def hash_of(self, path: Path) -> str:
        """The content hash that DVC has recorded for an output."""
        (found,) = (out for stage in self.stages.values() for out in stage.outs if _is_at(out, path))
        return str(found.hash_info.value)

    def hashes(self, methods: Sequence[str]) -> dict[str, str]:
        """The content hashes of the models of `methods` and of the course's metrics."""
        outputs = [*(self.places.model(method) for method in methods), self.places.metrics]
        return {str(path): self.hash_of(path) for path in outputs}

    def fingerprint(self, methods: Sequence[str]) -> str:
        """One hash over `hashes`: the same results have the same one."""
        return hashlib.sha256(json.dumps(self.hashes(methods), sort_keys=True).encode()).hexdigest()[:16]


def _index(repo: "Repo", places: Places) -> "Index":
    """The stages of this course and preset alone: reading those of all takes seconds longer."""
    from dvc.dvcfile import load_file
    from dvc.repo.index import Index

    stages = load_file(repo, str(places.root / "dvc.yaml")).stages
    course, preset = places.course, f"{places.course}-{places.preset}-"
    of = {name: name.partition("@")[2] for name in stages}
    return Index(
        repo,
        [stages[name] for name, item in of.items() if item == course or f"{item}-".startswith(preset)],
    )


def _is_at(out: "Output", path: Path) -> bool:
    return Path(out.fs_path) == path.absolute()


def _reasons(changes: list[str | dict[str, dict[str, str]]]) -> Iterator[str]:
    """The words of `dvc status`: a plain one, or which dependency or output changed and how."""
    for change in changes:
        if isinstance(change, str):
            yield change
        else:
            for files in change.values():
                yield from (f"{file} {what}" for file, what in files.items())

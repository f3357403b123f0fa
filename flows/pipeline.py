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

from flows.errors import StageError
from flows.places import Places
from flows.repository import open_repository
from tutee_grader.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from dvc.repo import Repo
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
        from dvc.exceptions import DvcException, OutputNotFoundError
        from dvc.repo.reproduce import plan_repro
        from networkx import lexicographical_topological_sort

        # A stage's command is `tutee ...`: the one of this very environment.
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        try:
            repo = open_repository(places.root)
            final = [out.stage for out in repo.find_outs_by_path(str(places.report))]
            needed = repo.index.graph.subgraph(plan_repro(repo.index.graph, final))
        except OutputNotFoundError:
            raise InputError(
                f"dvc.yaml: no stage writes {places.report}; is {places.course} listed in params.yaml?"
            ) from None
        except DvcException as error:
            raise InputError(f"dvc.yaml, params.yaml or the preset: {error}") from error
        # Of the orders that work, that of dvc.yaml; DVC's own differs from process to process.
        written = {stage: place for place, stage in enumerate(repo.index.stages)}
        order = lexicographical_topological_sort(needed.reverse(), key=written.__getitem__)
        return cls(repo, places, {stage.addressing: stage for stage in order})

    def run(self, stage: str) -> bool:
        """Runs one stage, if anything it depends on has changed; says whether it ran.

        Raises StageError where its command fails, with that command's exit code.
        """
        from dvc.exceptions import ReproductionError
        from dvc.lock import LockError

        try:
            # `reproduce` reads dvc.yaml and dvc.lock anew: longer than it takes to see that nothing changed.
            with self._locked():
                changed = self.stages[stage].changed()
            return changed and bool(self.repo.reproduce(stage, single_item=True))
        except LockError as error:
            raise UnavailableError(f"{stage}: another dvc command is at work here: {error}") from error
        except ReproductionError as error:
            code = _exit_code(error)
            if code is None:
                raise
            raise StageError(stage, code) from error

    def out_of_date(self) -> dict[str, str]:
        """Why the next run would run a stage, by stage; one that always runs is among them."""
        with self._locked():
            changed = {name: stage.status().get(name, []) for name, stage in self.stages.items()}
        return {name: ", ".join(_reasons(changes)) for name, changes in changed.items() if changes}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds DVC's lock of the folder.

        DVC's note of who works on which file is removed where it was cut short, by a kill or a full disk.
        """
        from dvc.rwlock import RWLOCK_FILE

        with self.repo.lock:
            note = Path(str(self.repo.tmp_dir), RWLOCK_FILE)
            try:
                json.loads(note.read_text(encoding="utf-8"))
            except FileNotFoundError:
                pass
            except ValueError:
                note.unlink()
            yield

    def hash_of(self, path: Path) -> str:
        """The content hash that DVC has recorded for an output."""
        (out,) = self.repo.find_outs_by_path(str(path))
        return str(out.hash_info.value)

    def hashes(self, methods: Sequence[str]) -> dict[str, str]:
        """The content hashes of the models of `methods` and of the course's metrics."""
        outputs = [*(self.places.model(method) for method in methods), self.places.metrics]
        return {str(path): self.hash_of(path) for path in outputs}

    def fingerprint(self, methods: Sequence[str]) -> str:
        """One hash over `hashes`: the same results have the same one."""
        return hashlib.sha256(json.dumps(self.hashes(methods), sort_keys=True).encode()).hexdigest()[:16]


def _reasons(changes: list[str | dict[str, dict[str, str]]]) -> Iterator[str]:
    """The words of `dvc status`: a plain one, or which dependency or output changed and how."""
    for change in changes:
        if isinstance(change, str):
            yield change
        else:
            for files in change.values():
                yield from (f"{file} {what}" for file, what in files.items())


def _exit_code(error: BaseException) -> int | None:
    """The exit code of the stage's command, which DVC gives only in the words of its error."""
    chained: BaseException | None = error
    while chained is not None:
        if found := re.search(r"exited with (-?\d+)$", str(chained)):
            return int(found[1])
        chained = chained.__cause__
    return None

"""The grader: programs in, verdicts out, in the same order."""

import json
import os
import shutil
import threading
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutee_grader.assignment import Assignment
from tutee_grader.cache import Cache
from tutee_grader.errors import UnavailableError, WeakSandboxError
from tutee_grader.forms.scoring import not_run
from tutee_grader.processes import usable_cores
from tutee_grader.progress import progress_bar
from tutee_grader.sandbox.pool import Pool
from tutee_grader.verdict import Status, Verdict

REQUIRED = ("landlock", "seccomp", "limits", "no new privileges", "no capabilities")
ALLOW_WEAK = "TUTEE_ALLOW_WEAK_SANDBOX"  # set to 1 by `tutee --allow-weak-sandbox`, for all that it starts
MAX_SOURCE = 1_000_000  # characters of one program


class Grader:
    """A pool of sandboxed workers, one per core; a context manager.

    `workers`: how many, by default one per usable core. `allow_weak`: go on, with a warning, where a
    protection is missing; the environment variable TUTEE_ALLOW_WEAK_SANDBOX=1 does the same.
    `cache`: a file in which verdicts are kept across runs. `bubblewrap`: also put each worker into namespaces
    of its own; by default where the program `bwrap` is installed and works. `protections` holds what is in
    force. Raises WeakSandboxError where a protection is missing.
    """

    def __init__(
        self,
        workers: int | None = None,
        allow_weak: bool = False,
        cache: Path | str | None = None,
        bubblewrap: bool | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._cache: Cache | None = None
        self._pool, self.protections = _start(workers or usable_cores(), bubblewrap)
        self._finish = weakref.finalize(self, self._pool.close)  # also where the caller forgets to close it
        missing = [name for name in REQUIRED if not self.protections.get(name)]
        if not missing:
            # Only a full sandbox's verdicts are kept: later runs could not tell the others apart.
            self._cache = Cache(Path(cache), self.protections_text) if cache is not None else None
            return
        lacks = f"this machine lacks {', '.join(missing)}, so student programs could harm it"
        if not allow_weak and os.environ.get(ALLOW_WEAK) != "1":
            self.close()
            raise WeakSandboxError(
                f"{lacks}; use a kernel with Landlock (5.13 on), or write `tutee --allow-weak-sandbox ...`"
            )
        warnings.warn(f"{lacks}; a weak sandbox was allowed", stacklevel=2)

    @property
    def protections_text(self) -> str:
        """The protections in force as JSON: the column `protections` of VERDICTS."""
        return json.dumps(self.protections, sort_keys=True)

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; a closed grader cannot grade."""
        self._finish()
        if self._cache is not None:
            self._cache.close()

    def process_groups(self) -> list[int]:
        """The process groups of the workers, once each of them is idle; for checks of what runs here."""
        workers = self._pool.workers()
        for worker in workers:
            worker.wait_until_idle()
        return [worker.process.pid for worker in workers]

    def scratch_folders(self) -> list[str]:
        """The workers' scratch folders as this process sees them, for checks of what lies there."""
        return [worker.scratch_path() for worker in self._pool.workers()]

    def grade(
        self, programs: Sequence[tuple[Assignment, str | bytes | None]], progress: bool = False
    ) -> list[Verdict]:
        """One verdict for each (assignment, program), in the same order; the same pair is run once.

        Raises SandboxError when the sandbox itself fails several times in a row.
        """
        with self._lock:
            return self._grade(programs, progress)

    def _grade(
        self, programs: Sequence[tuple[Assignment, str | bytes | None]], progress: bool
    ) -> list[Verdict]:
        verdicts: list[Verdict | None] = [None] * len(programs)
        same: dict[tuple[str, str], list[int]] = {}
        jobs: list[tuple[int, Assignment, str]] = []
        for index, (assignment, program) in enumerate(programs):
            text = _text(program)
            if text is None:
                verdicts[index] = _unrunnable(assignment, Status.NOT_TEXT, "it cannot be read as UTF-8 text")
            elif len(text) > MAX_SOURCE:
                reason = f"it has more than {MAX_SOURCE:,} characters"
                verdicts[index] = _unrunnable(assignment, Status.TOO_LARGE, reason)
            elif (key := (assignment.fingerprint, text)) in same:
                same[key].append(index)
            elif self._cache is not None and (known := self._cache.get(*key)) is not None:
                same[key] = [index]
                verdicts[index] = known
            else:
                same[key] = [index]
                jobs.append((index, assignment, text))
        with progress_bar("grade", len(jobs), "programs", shown=progress) as bar:
            for index, verdict in self._pool.grade(jobs):
                verdicts[index] = verdict
                if self._cache is not None:
                    assignment, program = programs[index]
                    self._cache.put(assignment.fingerprint, _text(program) or "", verdict)
                bar.update()
        for indices in same.values():
            for index in indices[1:]:
                verdicts[index] = verdicts[indices[0]]
        return [verdict for verdict in verdicts if verdict is not None]


def _start(workers: int, bubblewrap: bool | None) -> tuple[Pool, dict[str, Any]]:
    program = shutil.which("bwrap")
    if bubblewrap and program is None:
        raise WeakSandboxError("bubblewrap is not installed (on Debian: apt-get install bubblewrap)")
    if bubblewrap is not False and program is not None:
        try:
            pool = Pool(workers, program)
            return pool, pool.protections
        except UnavailableError as error:  # where user namespaces are forbidden, say
            if bubblewrap:
                raise WeakSandboxError(f"bubblewrap does not work on this machine: {error}") from error
            pool = Pool(workers, None)
            return pool, pool.protections | {"bubblewrap error": str(error)}
    pool = Pool(workers, None)
    return pool, pool.protections


def _unrunnable(assignment: Assignment, status: Status, reason: str) -> Verdict:
    return Verdict(0.0, status, not_run(assignment.tests, reason))


def _text(program: str | bytes | None) -> str | None:
    """The program as text; None where it is not text."""
    if program is None:
        return None
    try:
        text = program.decode("utf-8") if isinstance(program, bytes) else program
        text.encode("utf-8")
    except UnicodeError:
        return None
    return text.removeprefix("\ufeff")

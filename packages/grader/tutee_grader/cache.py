"""Verdicts kept across runs.

A verdict is found by its program and assignment, the versions of grader and Python, and the protections.
"""

import hashlib
import platform
import sqlite3
from pathlib import Path

from tutee_grader.verdict import Verdict
from tutee_grader.version import VERSION


class Cache:
    """A SQLite file, which several processes may use at once.

    `protections`: those of the grader that uses it, as text.
    """

    def __init__(self, path: Path, protections: str) -> None:
        self._version = f"{VERSION} {platform.python_version()} {protections} "
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS verdicts (key BLOB PRIMARY KEY, verdict TEXT) WITHOUT ROWID"
        )

    def close(self) -> None:
        self._database.close()

    def get(self, fingerprint: str, program: str) -> Verdict | None:
        """The verdict on a program under the assignment of this fingerprint; None where there is none yet."""
        row = self._database.execute(
            "SELECT verdict FROM verdicts WHERE key = ?", (self._key(fingerprint, program),)
        ).fetchone()
        return Verdict.from_json(row[0]) if row else None

    def put(self, fingerprint: str, program: str, verdict: Verdict) -> None:
        """Keep a verdict."""
        row = (self._key(fingerprint, program), verdict.to_json())
        self._database.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?)", row)

    def _key(self, fingerprint: str, program: str) -> bytes:
        return hashlib.sha256(f"{self._version}{fingerprint} {program}".encode()).digest()

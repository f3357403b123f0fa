"""Verdicts kept across runs, found by the content of program and assignment, the grader's version and the
protections it was graded under."""

import hashlib
import json
import platform
import sqlite3
from pathlib import Path

from tutee_grader.verdict import Outcome, Status, TestResult, Verdict
from tutee_grader.version import VERSION


class Cache:
    """A SQLite file, which several processes may use at once; `protections` are those of its grader."""

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
        row = self._database.execute(
            "SELECT verdict FROM verdicts WHERE key = ?", (self._key(fingerprint, program),)
        ).fetchone()
        return verdict_from_text(row[0]) if row else None

    def put(self, fingerprint: str, program: str, verdict: Verdict) -> None:
        row = (self._key(fingerprint, program), verdict_to_text(verdict))
        self._database.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?)", row)

    def _key(self, fingerprint: str, program: str) -> bytes:
        return hashlib.sha256(f"{self._version}{fingerprint} {program}".encode()).digest()


def verdict_to_text(verdict: Verdict) -> str:
    tests = [[t.name, t.outcome, t.message, t.expected, t.got, t.exception, t.line] for t in verdict.tests]
    return json.dumps([verdict.grade, verdict.status, tests, verdict.wall_s, verdict.cpu_s])


def verdict_from_text(text: str) -> Verdict:
    grade, status, tests, wall_s, cpu_s = json.loads(text)
    results = tuple(TestResult(name, Outcome(outcome), *rest) for name, outcome, *rest in tests)
    return Verdict(grade, Status(status), results, wall_s, cpu_s)

"""What was played so far, in a file, so that a killed run goes on."""

import json
from pathlib import Path
from typing import Self

from tutee_evaluator.experiments.play import Rows


class Kept:
    """The trajectories in a file, by student and assignment; a line of JSON each, written at once.

    A line that a killed run left unfinished is removed.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        whole = file.read_bytes() if file.exists() else b""
        whole = whole[: whole.rfind(b"\n") + 1]
        self.trajectories: dict[tuple[str, str], Rows] = {}
        for line in whole.splitlines():
            self._take(json.loads(line))
        self._file = file.open("r+b" if file.exists() else "wb")
        self._file.seek(len(whole))
        self._file.truncate()

    def add(self, rows: Rows) -> None:
        """Adds a finished trajectory."""
        self._take(rows)
        self._file.write(json.dumps(rows).encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _take(self, rows: Rows) -> None:
        self.trajectories[rows[0]["student"], rows[0]["assignment"]] = rows

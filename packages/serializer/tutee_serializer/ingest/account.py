"""The account of a log's rows: where every one of them went."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tutee_grader.errors import InputError
from tutee_grader.files import atomic_file
from tutee_serializer.logs.staging import Source


@dataclass(frozen=True)
class Step:
    """A line of the row account: `kind` is in, filter, quarantine or kept."""

    step: str
    kind: str
    rows: int


@dataclass(frozen=True)
class RowAccount:
    """Where every row of the log went, what was noticed on the way, and how much was masked, by kind.

    `key` is the fingerprint of the key of the pseudonyms; `semesters` says in sentences what each semester
    is for, and which ones are left out; `drift` has the rows of the table DRIFT. The rows in are the rows
    kept, quarantined and left out by named filters: `check` asserts it.
    """

    course: str
    synthetic: bool
    key: str
    sources: list[Source]
    flow: list[Step]
    semesters: list[str]
    broken_assignments: dict[str, str]
    notes: dict[str, int]
    masked: dict[str, int]
    drift: list[dict[str, Any]]
    warnings: list[str]

    def rows(self, *kinds: str) -> int:
        return sum(step.rows for step in self.flow if step.kind in kinds)

    def check(self) -> None:
        went = self.rows("kept", "quarantine", "filter")
        assert self.rows("in") == went, f"{self.rows('in')} rows in, {went} accounted for: {self.flow}"

    def save(self, path: Path) -> None:
        with atomic_file(path) as part:
            part.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "RowAccount":
        """Reads an account; raises InputError where another version of tutee wrote it, with other fields."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if values.keys() != {field.name for field in fields(cls)}:
            raise InputError(f"{path}: written by another version of tutee; run `tutee ingest` again")
        values["sources"] = [Source(**source) for source in values["sources"]]
        values["flow"] = [Step(**step) for step in values["flow"]]
        return cls(**values)

    def __str__(self) -> str:
        width = max(len(step.step) for step in self.flow)
        lines = [f"{step.step:<{width}}  {step.rows:>9,}  {step.kind}" for step in self.flow]
        notes = [f"{note}: {count:,}" for note, count in self.notes.items()]
        notes += [f"masked, {kind}: {count:,}" for kind, count in self.masked.items()]
        return "\n".join(
            [*lines, *self.semesters, *notes, *(f"warning: {warning}" for warning in self.warnings)]
        )

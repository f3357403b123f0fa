"""A log that is read in blocks becomes what it becomes in one piece."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tutee_grader.files import hash_file
from tutee_serializer.course import Course
from tutee_serializer.errors import LogError
from tutee_serializer.ingest import blocks
from tutee_serializer.ingest.account import RowAccount
from tutee_serializer.ingest.ingest import IngestConfig, IngestResult, parse_log
from tutee_serializer.ingest.privacy import pseudonym

KEY = b"a key only for tests"
FIELDS = ("id", "what", "student", "assignment", "semester", "time", "score", "code", "said", "by", "gender")
COLUMNS: dict[str, Any] = {
    "row": "id",
    "kind": "what",
    "student": "student",
    "assignment": "assignment",
    "semester": "semester",
    "timestamp": "time",
    "score": "score",
    "code": "code",
    "feedback": "said",
    "author": "by",
    "demographics": ["gender"],
}
LOGS = {
    "path": "log.csv",
    "kinds": {"Submit": "submission", "Note": "message"},
    "clean": ["trailing_backslash"],
}


def messy_log(seed: int, rows: int) -> str:
    """A log with some of everything that happens: two semesters, rows without a student, duplicates, ids used
    twice, clocks that are behind, unknown assignments, messages, programs that name their author."""
    chance = random.Random(seed)
    lines = []
    for number in range(rows):
        student = chance.choice([*(f"mara-{one:04}" for one in range(9)), ""])
        fields = {
            "id": str(number if chance.random() < 0.9 else chance.randrange(rows)),
            "what": chance.choice(["Submit", "Submit", "Submit", "Note", "Open"]),
            "student": student,
            "assignment": chance.choice(["double", "double", "double", "treble"]),
            "semester": chance.choice(["one", "two", "two", "three"]),
            "time": f"2024-10-01T{(number * 7 // 60) % 24:02}:{chance.randrange(60):02}:00Z",
            "score": chance.choice(["0", "50", "100", "", "many"]),
            "code": chance.choice([f"print({chance.randrange(5)})", f"# by {student}", "print(1) \\\\", ""]),
            "said": chance.choice(["", "think of n", "write to mara@example.org"]),
            "by": chance.choice(["tutor", "grader"]),
            "gender": "f" if student.endswith(("2", "4")) else "m",
        }
        lines.append(",".join(fields[name] for name in FIELDS))
        if chance.random() < 0.1:
            lines.append(lines[-1])
    return "\n".join([",".join(FIELDS), *lines]) + "\n"


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda size: monkeypatch.setattr(blocks, "BLOCK", size)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.integers(30, 120), st.integers(500, 6000), st.booleans())
def test_any_block_size_gives_the_same(
    small_course: Callable[..., Course],
    in_blocks: Callable[[int], None],
    seed: int,
    rows: int,
    size: int,
    first_look: bool,
) -> None:
    course = small_course(messy_log(seed, rows), columns=COLUMNS, logs=LOGS)
    forgotten = {pseudonym("mara-0003", KEY)}

    def read(size: int) -> IngestResult | str:
        in_blocks(size)
        try:
            return parse_log(course, IngestConfig(), KEY, forgotten, first_look=first_look)
        except LogError as error:  # a small log may have no row that can be used
            return str(error)

    whole, parts = read(10**9), read(size)
    if isinstance(whole, str) or isinstance(parts, str):
        assert whole == parts
        return
    assert whole.account == parts.account
    assert (whole.roles, whole.suggestions) == (parts.roles, parts.suggestions)
    for name in ("submissions", "quarantine", "assignments", "demographics"):
        assert_frame_equal(getattr(whole, name), getattr(parts, name))


def test_a_block_has_all_rows_of_its_students_and_little_more_than_its_size(tmp_path: Path) -> None:
    rows = pl.LazyFrame({"student": [f" s{n % 500}" for n in range(5000)]}).with_columns(
        code=pl.lit("x" * 100), feedback=pl.lit("")
    )
    names = {student: pseudonym(student, KEY) for student in blocks.find_students(rows)}
    size = 5000 * (100 + blocks.ROW) // 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", size)
        parts = [part.collect() for part in blocks.split(rows, names, tmp_path / "blocks")]
    assert sum(part["student"].n_unique() for part in parts) == 500
    assert sorted(position for part in parts for position in part["position"]) == list(range(5000))
    assert len(parts) == 5
    assert max(part.height for part in parts) * (100 + blocks.ROW) < 1.3 * size


def test_the_same_log_gives_the_same_bytes(
    small_course: Callable[..., Course],
    write_ingested: Callable[..., RowAccount],
    in_blocks: Callable[[int], None],
    tmp_path: Path,
) -> None:
    """DVC would make all that follows anew."""
    course = small_course(messy_log(1, 300), columns=COLUMNS, logs=LOGS)
    hashes = set()
    for run, size in enumerate((10**9, 10**9, 10_000)):
        in_blocks(size)
        write_ingested(course, tmp_path / str(run), max_quarantined=1)
        hashes.add(hash_file(tmp_path / str(run) / "submissions.parquet"))
    assert len(hashes) == 1

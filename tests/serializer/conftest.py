import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml

from tutee_serializer.course import Course
from tutee_serializer.ingest.account import RowAccount
from tutee_serializer.ingest.ingest import IngestConfig, ingest

MAPPING = {
    "student": "student",
    "assignment": "assignment",
    "code": "code",
    "semester": "semester",
    "attempt": "attempt",
    "timestamp": "time",
    "score": "score",
}
HEADER = "student,assignment,semester,attempt,time,score,code\n"

GOOD = HEADER + "".join(
    f"student-{number},double,{semester},{attempt},,{50 * attempt},print({attempt})\n"
    for semester in ("one", "two")
    for number in range(4)
    for attempt in (1, 2)
)


@pytest.fixture
def good_log() -> str:
    """Two semesters of four students each, who submit twice."""
    return GOOD


@pytest.fixture
def course_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small course: a log, one assignment `double`, a course file with the given changes."""

    def write(log: str | bytes = HEADER, log_name: str = "log.csv", **changes: Any) -> Path:
        folder = tmp_path / "course"
        assignment = folder / "assignments" / "double"
        assignment.mkdir(parents=True, exist_ok=True)
        (assignment / "task.md").write_text("Write `double(n)`, which returns n times two.\n")
        (assignment / "solution.py").write_text("def double(n):\n    return 2 * n\n")
        (assignment / "tests.yaml").write_text(
            "form: calls\ntests:\n"
            "  - {call: 'double(2)', returns: '4'}\n"
            "  - {call: 'double(-1)', returns: '-2'}\n"
        )
        (folder / log_name).write_bytes(log.encode() if isinstance(log, str) else log)
        values: dict[str, Any] = {
            "name": "small",
            "synthetic": True,
            "logs": {"path": log_name},
            "columns": MAPPING,
            "assignments": {"path": "assignments"},
            "semesters": {"train": ["one"], "test": ["two"]},
        }
        values.update(changes)
        file = folder / "course.yaml"
        file.write_text(yaml.safe_dump({name: value for name, value in values.items() if value is not None}))
        return file

    return write


@pytest.fixture
def small_course(course_file: Callable[..., Path]) -> Callable[..., Course]:
    """The same course, loaded."""

    def load(log: str | bytes = HEADER, log_name: str = "log.csv", **changes: Any) -> Course:
        return Course.load(course_file(log, log_name, **changes))

    return load


@pytest.fixture
def write_ingested() -> Callable[..., RowAccount]:
    """Ingests a course into a folder: submissions.parquet, account.json, data_docs and so on."""

    def write(course: Course, folder: Path, **config: Any) -> RowAccount:
        return ingest(
            course,
            IngestConfig(**config),
            key=b"a key only for tests",
            forgotten=(),
            simulated=folder / "simulated.csv",
            submissions=folder / "submissions.parquet",
            quarantine=folder / "quarantine.parquet",
            demographics=folder / "demographics.parquet",
            account=folder / "account.json",
            data_docs=folder / "data_docs",
        )

    return write


@pytest.fixture
def cpu_limit() -> Iterator[None]:
    """Fails a test after 40 CPU seconds: in linear time its text takes under 7, in quadratic time over 60."""

    def fail(number: int, frame: FrameType | None) -> None:
        pytest.fail("40 CPU seconds are over", pytrace=False)

    before = signal.signal(signal.SIGPROF, fail)
    signal.setitimer(signal.ITIMER_PROF, 40)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)

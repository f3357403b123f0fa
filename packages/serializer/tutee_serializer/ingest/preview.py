"""What a log would become, in words: `tutee preview`."""

from collections.abc import Iterator

import polars as pl

from tutee_serializer.course import Course
from tutee_serializer.ingest.ingest import IngestResult
from tutee_serializer.logs.staging import Source

ROWS = 5
QUARANTINED = 10


def preview(course: Course, result: IngestResult) -> str:
    """How a course's log was read (by `parse_log`), and what would be kept and quarantined."""
    return "\n".join(_lines(course, result))


def _lines(course: Course, result: IngestResult) -> Iterator[str]:
    table = result.submissions
    yield f"course {course.name}" + (" (synthetic)" if course.synthetic else "")
    for source in result.account.sources:
        yield from _source(source)
    for name, reason in result.account.broken_assignments.items():
        yield f"assignment {name} cannot be used: {reason}"
    yield ""
    yield str(result.account)
    yield from (f"ingest would stop: {problem}" for problem in result.roles.problems())
    yield ""
    per_semester = (
        table.group_by("semester").agg(pl.col("student").n_unique(), pl.len()).rows_by_key("semester")
    )
    for semester in result.roles.used:
        students, submissions = per_semester[semester][0]
        yield f"semester {semester}: {submissions:,} submissions of {students:,} students"
    yield f"{table['student'].n_unique():,} students, {table['assignment'].n_unique():,} assignments"
    yield ""
    yield f"first {min(ROWS, table.height)} submissions:"
    for row in table.head(ROWS).iter_rows(named=True):
        score = "no score" if row["logged_score"] is None else f"score {row['logged_score']:g}"
        first = row["code"].strip().splitlines()[0][:60]
        yield (
            f"  {row['semester']}  {row['student']}  {row['assignment']} #{row['order']}"
            f"  {row['submitted_at'] or 'no time'}  {score}  {first}"
        )
    if not result.quarantine.is_empty():
        yield ""
        yield f"first {min(QUARANTINED, result.quarantine.height)} rows for quarantine:"
    for row in result.quarantine.head(QUARANTINED).iter_rows(named=True):
        value = f": {row['field']} = {row['value']!r}" if row["value"] else ""
        yield f"  {row['source']} row {row['source_row']}: {row['reason']}{value}"


def _source(source: Source) -> Iterator[str]:
    repaired = f", {source.repaired:,} lines repaired" if source.repaired else ""
    yield f"{source.name}: {source.rows:,} rows, {source.encoding}{repaired}"
    yield from (f"  {field} <- {column}" for field, column in source.columns.items())
    if source.unused:
        yield f"  not read: {', '.join(source.unused)}"

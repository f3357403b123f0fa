"""What a log would become, in words: `tutee preview`."""

from collections.abc import Iterator

import polars as pl

from tutee_serializer.course import Course
from tutee_serializer.ingest.assignments import NO_FOLDER, USABLE, assignment_lines
from tutee_serializer.ingest.ingest import IngestResult
from tutee_serializer.logs import FORMATS
from tutee_serializer.logs.staging import Source

ROWS = 5
QUARANTINED = 3


def preview(course: Course, result: IngestResult) -> str:
    """How a course's log was read (by `parse_log`, a first look), and what would be kept and quarantined."""
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
    yield "assignments:"
    yield from assignment_lines(result.assignments)
    yield ""
    yield f"first {min(ROWS, table.height)} submissions:"
    for row in table.head(ROWS).iter_rows(named=True):
        label = {True: "right", False: "wrong", None: "no score"}[row["logged_correct"]]
        score = label if row["logged_score"] is None else f"score {row['logged_score']:g}"
        first = row["code"].strip().splitlines()[0][:60]
        yield (
            f"  {row['semester']}  {row['student']}  {row['assignment']} #{row['order']}"
            f"  {row['submitted_at'] or 'no time'}  {score}  {first}"
        )
    if not result.quarantine.is_empty():
        yield ""
        yield f"rows for quarantine, the first {QUARANTINED} of each reason:"
    first_of_each = result.quarantine.group_by("reason", maintain_order=True).head(QUARANTINED)
    for row in first_of_each.iter_rows(named=True):
        value = f": {row['field']} = {row['value']!r}" if row["value"] else ""
        yield f"  {row['source']} row {row['source_row']}: {row['reason']}{value}"
    todo = list(_next(course, result))
    if todo:
        yield ""
        yield "next:"
    yield from (f"  {line}" for line in todo)


def _next(course: Course, result: IngestResult) -> Iterator[str]:
    """What is to be written before the log can be used, or used better."""
    yield from result.suggestions
    states = result.assignments["state"]
    unknown = int((states == NO_FOLDER).sum())
    if not unknown:
        return
    if FORMATS[course.logs.format].write_assignments is not None:
        yield f"run `tutee source {course.name}`, which writes the assignments from the log"
        return
    if not (states == USABLE).any():
        yield "until one assignment can be used, all of the log's count as usable above"
    else:
        yield "rows of an assignment without a folder go to quarantine, as above"
    first = course.assignments_folder / result.assignments["assignment"].filter(states == NO_FOLDER)[0]
    yield (
        f"write a folder for each assignment without one ({unknown:,}), such as {first}: task.md, tests.yaml "
        "and solution.py"
    )
    yield f"then run `tutee validate {course.file}`, which grades each solution.py"


def _source(source: Source) -> Iterator[str]:
    repaired = f", {source.repaired:,} lines repaired" if source.repaired else ""
    yield f"{source.name}: {source.rows:,} rows, {source.encoding}{repaired}"
    yield from (f"  {field} <- {column}" for field, column in source.columns.items())
    if source.unused:
        yield f"  not read: {', '.join(source.unused)}"

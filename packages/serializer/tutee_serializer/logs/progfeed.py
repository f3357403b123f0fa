"""ProgFeed: a course whose AI feedback was randomised among none, a failing test and natural language.

Heickal and Lan, "A Classroom Study of LLM-generated Feedback Intervention in Introductory Programming"
(2026); https://github.com/umass-ml4ed/progFeed-dataset-public (CC BY 4.0). Written from its data dictionary:
the table has one row per test of a submission.
"""

from pathlib import Path

import polars as pl

from tutee_serializer.errors import LogError
from tutee_serializer.logs.archives import find, unpack
from tutee_serializer.logs.code_states import read_csv
from tutee_serializer.logs.staging import (
    Log,
    LogFormat,
    Source,
    StagedLog,
    find_columns,
    folder_name,
    stage,
    without_no_value,
)

TABLE = "all_submissions_consolidated.csv"
COLUMNS = {
    "student": "student_id",
    "lab": "lab",
    "timestamp": "submission_timestamp",
    "file": "source_file",
    "function": "function_name",
    "code": "code_snippet",
    "score": "score",
    "max_score": "max_score",
    "arm": "ai_feedback_type",
    "feedback": "ai_feedback_text",
}
SUBMISSION = ("student", "lab", "timestamp", "file", "function")  # of the tests that are of one submission
IN_WORDS = "nl"  # the arm whose feedback is a text; that of `tc` is a failing test
FIELDS = frozenset(("student", "assignment", "code", "timestamp", "score", "max_score", "arm", "feedback"))
_TIME = r"^(\d{4}-\d{2}-\d{2})-(\d{2})-(\d{2})-(\d{2})$"  # 2025-09-05-14-13-20
_TESTS = "further tests of a submission, whose points are added up"
_NOT_READ = "failing tests that were shown in the arm tc, not read: `arms` says what that arm was told"


def read_progfeed(log: Log, scratch: Path) -> StagedLog:
    """Stages ProgFeed's table: each function of a lab, or whole file, is an assignment, LAB_FILE_FUNCTION.

    A score is the sum of the tests' points. Natural-language feedback that was shown is a message of author
    `ai`. Raises LogError where the table or a column is missing.
    """
    path = _find(log)
    table, encoding = read_csv(unpack(path, scratch)[0], scratch)
    name = Path(path).name
    columns = find_columns(name, table.columns, {field: [one] for field, one in COLUMNS.items()}, log.file)
    unused = [column for column in table.columns if column not in columns.values()]
    rows = _submissions(table.select(pl.col(column).alias(field) for field, column in columns.items()))
    not_read = int(rows["not_read"].sum())
    return StagedLog(
        stage(rows, name, 1).lazy(),
        [Source(name, table.height, encoding, columns, unused)],
        {_TESTS: table.height - rows.height},
        FIELDS,
        {_NOT_READ: not_read} if not_read else {},
    )


def _find(log: Log) -> str:
    """The table: the file of the path, or that of its name in a folder."""
    path = log.config.path
    if not isinstance(path, str) or log.config.semester in ("file_name", "folder"):
        raise LogError(
            f"{log.file}: `logs` names semesters by files, but ProgFeed is one table of one semester; write "
            f"`path: FOLDER`, and `semesters: {{split: students, test: 0.2}}`"
        )
    found = find(path, log.folder)
    tables = [name for name in found if Path(name).name == TABLE] if len(found) > 1 else found
    if not tables:
        raise LogError(f"{log.file}: `logs.path`: {path} holds no {TABLE}, so it is no ProgFeed")
    return tables[0]


def _submissions(tests: pl.DataFrame) -> pl.DataFrame:
    """One row per submission of a function, with the number of its first row, from one row per test."""
    points = pl.col("score").cast(pl.Float64, strict=False)
    # One test without points leaves the sum unknown; what stands in their place shows why.
    instead = pl.when(points.is_null().any()).then(pl.col("score").filter(points.is_null()).first())
    numbered = tests.with_row_index("source_row", offset=1).with_columns(without_no_value("feedback"))
    rows = numbered.group_by(SUBMISSION, maintain_order=True).agg(
        pl.col("source_row", "code", "arm").first(),
        score=instead.otherwise(points.sum().cast(pl.String)),
        max_score=pl.col("max_score").cast(pl.Float64, strict=False).sum().cast(pl.String),
        shown=pl.col("feedback").drop_nulls().unique(maintain_order=True).str.join("\n\n"),
        differ=(pl.col("code").n_unique() > 1) | (pl.col("arm").n_unique() > 1),
    )
    in_words = (pl.col("arm") == IN_WORDS).fill_null(False)
    was_shown = pl.col("shown").str.contains(r"\S")
    name = pl.concat_str(
        "lab", pl.col("file").str.replace(r"\.\w+$", ""), "function", separator="_", ignore_nulls=True
    )
    return rows.select(
        "source_row",
        "student",
        "code",
        "arm",
        "score",
        "max_score",
        assignment=folder_name(name),
        timestamp=pl.col("timestamp").str.replace(_TIME, "${1}T${2}:${3}:${4}"),
        feedback=pl.when(in_words & was_shown).then("shown"),
        author=pl.when(in_words & was_shown).then(pl.lit("ai")),
        reason=pl.when("differ").then(pl.lit("its tests name several programs or arms")),
        field=pl.when("differ").then(pl.lit("")),
        not_read=~in_words & was_shown,
    )


FORMAT = LogFormat("progfeed", read_progfeed, FIELDS)

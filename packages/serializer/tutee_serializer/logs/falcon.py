"""FalconCode: submissions, tasks and test cases in one table, from the hub or from Parquet files.

de Freitas et al., "FalconCode" (SIGCSE 2023). The filters are those of Koutcheme et al. (arXiv 2604.10720)
that need only the log; those that need grades are in section `serialize`.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from tutee_grader.errors import UnavailableError
from tutee_serializer.errors import LogError
from tutee_serializer.logs.archives import find
from tutee_serializer.logs.staging import Log, LogFormat, Source, StagedLog, find_columns, folder_name, stage

HUB = "hf://datasets/"
CONFIGURATION = "submitted"
COLUMNS = {
    "student": "student_id",
    "assignment": "problem_id",
    "code": "source_code",
    "timestamp": "timestamp",
    "score": "score",
    "max_score": "max_score",
}
FIELDS = frozenset((*COLUMNS, "semester"))
ABOUT = ("prompt", "testcase", "type", "exam", "redacted")
SPLITS = {"train": "train", "validation": "val", "val": "val", "test": "test"}


def read_falcon(log: Log, scratch: Path) -> StagedLog:
    """Stages FalconCode; a row's semester is its split, `train`, `val` or `test`, unless the path says it.

    Raises LogError where a file or column is missing, UnavailableError where the hub says no.
    """
    if log.config.semester in ("file_name", "folder"):
        raise LogError(
            f"{log.file}: `logs.semester` is {log.config.semester}, but FalconCode's semesters are its "
            "splits; remove it, or write `path: {SEMESTER: FILE}`"
        )
    parts: list[pl.DataFrame] = []
    sources: list[Source] = []
    for semester, name, rows in _splits(log):
        columns = find_columns(name, rows.columns, _mapping(), log.file)
        unused = [column for column in rows.columns if column not in columns.values()]
        sources.append(Source(name, rows.height, "parquet", {f: columns[f] for f in COLUMNS}, unused))
        renamed = rows.select(pl.col(columns[field]).cast(pl.String).alias(field) for field in columns)
        numbers = pl.int_range(1, pl.len() + 1).alias("source_row")
        parts.append(
            renamed.with_columns(numbers, pl.lit(semester).alias("semester"), pl.lit(name).alias("source"))
        )
    rows = pl.concat(parts)
    left_out: dict[str, int] = {}
    for step, kept in _filters(log.config.filters):
        left = rows.filter(kept)
        left_out[step] = rows.height - left.height
        rows = left
    rows = rows.with_columns(folder_name(pl.col("assignment")))
    staged = [stage(part, str(part["source"][0]), 1) for part in rows.partition_by("source")]
    return StagedLog(
        pl.concat(staged).lazy() if staged else stage(rows, "", 1).lazy(), sources, left_out, FIELDS, {}
    )


def write_assignments(log: Log, folder: Path) -> int:
    """Writes each problem's task and test case, from the log's table, below `folder`; returns how many."""
    tables = [rows.select("problem_id", "prompt", "testcase", "max_score") for _, _, rows in _splits(log)]
    problems = (
        pl.concat(tables).with_columns(folder_name(pl.col("problem_id"))).unique("problem_id", keep="first")
    )
    for row in problems.sort("problem_id").iter_rows(named=True):
        problem = folder / row["problem_id"]
        problem.mkdir(parents=True, exist_ok=True)
        (problem / "task.md").write_text(row["prompt"] or "", encoding="utf-8")
        (problem / "test.py").write_text(row["testcase"] or "", encoding="utf-8")
        options = f"options: {{max_score: {float(row['max_score'] or 100)}}}\n"
        (problem / "tests.yaml").write_text(f"form: falcon\n{options}", encoding="utf-8")
    return problems.height


def _mapping() -> dict[str, list[str]]:
    return {field: [column] for field, column in (COLUMNS | {about: about for about in ABOUT}).items()}


def _filters(chosen: Sequence[str] | None) -> Iterator[tuple[str, pl.Expr]]:
    flags = {
        name: pl.col(name).str.to_lowercase().is_in(["true", "1", "yes"]) for name in ("redacted", "exam")
    }
    mentions_csv = pl.any_horizontal(
        pl.col(name).str.contains(".csv", literal=True).fill_null(False) for name in ("prompt", "testcase")
    )
    # lab03 of lab03_task1, in each split. Of equally common problems the first by name stays.
    group = [pl.col("assignment").str.split("_").list.first(), pl.col("semester")]
    times = pl.len().over("assignment")
    commonest = pl.struct(-times.cast(pl.Int64), pl.col("assignment")).rank("dense").over(group) == 1
    steps = {
        "local_run": ("local run without a grade", pl.col("score").cast(pl.Float64, strict=False) != -1),
        "csv": ("task or test mentions a .csv file", ~mentions_csv),
        "redacted": ("redacted", ~flags["redacted"].fill_null(False)),
        "type": ("type is not lab", pl.col("type").str.to_lowercase() == "lab"),
        "exam": ("exam", ~flags["exam"].fill_null(False)),
        "group": ("not the commonest problem of its group", commonest),
    }
    for name, (step, kept) in steps.items():
        if chosen is None or name in chosen:
            # A row without a readable score is kept; the checks after this quarantine it.
            yield step, kept.fill_null(True) if name == "local_run" else kept.fill_null(False)


def _splits(log: Log) -> Iterator[tuple[str, str, pl.DataFrame]]:
    path = log.config.path
    if isinstance(path, str) and path.startswith(HUB):
        yield from _from_hub(path.removeprefix(HUB))
        return
    for semester, pattern in path.items() if isinstance(path, dict) else [(None, str(path))]:
        for name in find(pattern, log.folder):
            if not name.endswith((".parquet", ".pq")):
                continue
            stem = Path(name).stem
            split = next(
                (SPLITS[word] for word in re.findall(r"[a-z]+", stem.lower()) if word in SPLITS), None
            )
            if semester is None and split is None:
                raise LogError(
                    f"{name}: its name says none of {', '.join(SPLITS)}; write `path: {{SEMESTER: FILE}}`"
                )
            try:
                yield semester or str(split), Path(name).name, pl.read_parquet(name)
            except pl.exceptions.PolarsError as error:
                raise LogError(f"{name}: not a Parquet file ({error}); fetch it again") from error


def _from_hub(name: str) -> Iterator[tuple[str, str, pl.DataFrame]]:
    import datasets

    token = os.environ.get("HF_TOKEN")
    try:
        splits = datasets.load_dataset(name, CONFIGURATION, token=token)
    except (OSError, ValueError, RuntimeError) as error:
        how = "" if token else "; HF_TOKEN is not set, and this data set asks for one"
        raise UnavailableError(f"{HUB}{name}: the hub gives nothing ({error}){how}") from error
    for split, rows in splits.items():
        yield SPLITS.get(split, split), f"{name}:{split}", pl.DataFrame(pl.from_arrow(rows.data.table))


FORMAT = LogFormat("falcon", read_falcon, FIELDS, write_assignments)

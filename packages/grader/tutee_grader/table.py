"""Grading a table of submissions, partition by partition, so that a killed run goes on where it stopped.

Partitions are graded on this machine or on a Ray cluster, with the same verdicts.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from tutee_grader.assignment import Assignment
from tutee_grader.cluster import map_on_cluster
from tutee_grader.config import Section
from tutee_grader.errors import InputError
from tutee_grader.feedback import feedback
from tutee_grader.files import write_table
from tutee_grader.grader import Grader
from tutee_grader.progress import progress_bar
from tutee_grader.verdict import VERDICTS, Verdict
from tutee_grader.version import VERSION

PARTITION = 2000  # rows

_grader: list[Grader] = []  # one sandboxed worker in each process of a cluster, kept between partitions


class GradeConfig(Section):
    """Section `grade` of params.yaml. `cluster`: `local`, or the address of a Ray cluster (`ray://host:10001`)."""

    cluster: str = "local"


def grade_table(
    submissions: pl.DataFrame,
    assignments: Mapping[str, Assignment],
    folder: Path | str,
    *,
    workers: int | None = None,
    allow_weak: bool = False,
    cache: Path | str | None = None,
    partition: int = PARTITION,
    cluster: str = "local",
    progress: bool = True,
) -> pl.DataFrame:
    """The VERDICTS of a table with submission_id, assignment and code, row for row.

    Finished partitions (of `partition` rows) are kept in `folder`; a later call with the same rows,
    assignments and grader does not grade them again. `cluster` is `local` or the address of a Ray cluster.
    Raises InputError for an assignment that is not among `assignments`.
    """
    unknown = sorted(set(submissions["assignment"].unique()) - set(assignments))
    if unknown:
        raise InputError(f"submissions of unknown assignments: {', '.join(map(str, unknown))}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = {}
    for start in range(0, submissions.height, partition):
        rows = submissions.slice(start, partition)
        parts[f"{start:09d}-{partition_key(rows, assignments)}.parquet"] = rows
    missing = {name: rows for name, rows in parts.items() if not (folder / name).exists()}
    with progress_bar("grade", submissions.height, "rows", shown=progress) as bar:
        bar.update(submissions.height - sum(rows.height for rows in missing.values()))
        if cluster == "local":
            graded = _grade_here(missing, assignments, workers, allow_weak, cache)
        else:
            graded = _grade_on_cluster(cluster, missing, assignments, allow_weak)
        for name, verdicts in graded:
            write_table(verdicts, folder / name)
            bar.update(verdicts.height)
    return (
        pl.concat([pl.read_parquet(folder / name) for name in parts])
        if parts
        else pl.DataFrame(schema=VERDICTS)
    )


def _grade_here(
    partitions: Mapping[str, pl.DataFrame],
    assignments: Mapping[str, Assignment],
    workers: int | None,
    allow_weak: bool,
    cache: Path | str | None,
) -> Iterator[tuple[str, pl.DataFrame]]:
    if partitions:
        with Grader(workers, allow_weak, cache) as grader:
            for name, rows in partitions.items():
                yield name, grade_rows(grader, rows, assignments)


def _grade_on_cluster(
    address: str,
    partitions: Mapping[str, pl.DataFrame],
    assignments: Mapping[str, Assignment],
    allow_weak: bool,
) -> Iterator[tuple[str, pl.DataFrame]]:
    items = (
        (name, rows.select("submission_id", "assignment", "code").to_dict(as_series=False))
        for name, rows in partitions.items()
    )
    for name, records in map_on_cluster(address, _grade_columns, items, (dict(assignments), allow_weak)):
        yield name, pl.DataFrame(records, schema=VERDICTS)


def _grade_columns(
    columns: dict[str, list[Any]], shared: tuple[dict[str, Assignment], bool]
) -> list[dict[str, Any]]:
    """The VERDICTS of one partition, in a process of a cluster, where polars may have another version."""
    assignments, allow_weak = shared
    if not _grader:
        _grader.append(Grader(1, allow_weak))
    rows = pl.DataFrame(columns, schema={name: pl.String for name in columns})
    return grade_rows(_grader[0], rows, assignments).to_dicts()


def grade_rows(grader: Grader, rows: pl.DataFrame, assignments: Mapping[str, Assignment]) -> pl.DataFrame:
    """The VERDICTS of a few rows."""
    pairs = [(assignments[name], code) for name, code in rows.select("assignment", "code").iter_rows()]
    records = [
        verdict_row(submission_id, verdict, grader.protections_text)
        for submission_id, verdict in zip(rows["submission_id"], grader.grade(pairs), strict=True)
    ]
    return pl.DataFrame(records, schema=VERDICTS)


def verdict_row(submission_id: str, verdict: Verdict, protections: str) -> dict[str, Any]:
    """One row of VERDICTS."""
    return {
        "submission_id": submission_id,
        **verdict.to_row(),
        "feedback": feedback(verdict),
        "grader_version": VERSION,
        "protections": protections,
    }


def partition_key(rows: pl.DataFrame, assignments: Mapping[str, Assignment]) -> str:
    """Changes with everything that the partition's verdicts depend on."""
    digest = hashlib.sha256(VERSION.encode())
    for submission_id, assignment, code in rows.select("submission_id", "assignment", "code").iter_rows():
        parts = (submission_id, assignments[assignment].fingerprint, code)
        digest.update(repr(parts).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:16]

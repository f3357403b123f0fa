"""Judges every row of a course's log: kept, quarantined with a reason, or left out by a named filter."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import Field

from tutee_grader.config import Section
from tutee_grader.files import write_table
from tutee_serializer.account import Account, Step
from tutee_serializer.course import Course
from tutee_serializer.errors import LogError
from tutee_serializer.judgement import judge, parse
from tutee_serializer.logs import read_logs
from tutee_serializer.masks import Masker
from tutee_serializer.places import Places
from tutee_serializer.privacy import load_key, pseudonym, published, read_forgotten
from tutee_serializer.schemas import QUARANTINE
from tutee_serializer.trajectories import order
from tutee_serializer.validation import validate


class IngestConfig(Section):
    """The section `ingest` of params.yaml."""

    max_code_bytes: Annotated[int, Field(gt=0)] = 65_536
    # Share of the log's rows that may be in quarantine before the run stops.
    max_quarantined: Annotated[float, Field(ge=0, le=1)] = 0.2


@dataclass(frozen=True)
class Ingested:
    """The tables SUBMISSIONS and QUARANTINE of a course, and their account.

    `demographics` has a row per student and the columns that the course file asks for, if it does.
    """

    submissions: pl.DataFrame
    quarantine: pl.DataFrame
    account: Account
    demographics: pl.DataFrame | None = None


def ingest(course: Course, config: IngestConfig, places: Places) -> Ingested:
    """Reads, judges, pseudonymises, validates and writes a course's log, and its Data Docs.

    Raises LogError where no row can be used, ValidationError where an expectation of level error fails.
    """
    result = understand(course, config, places)
    checks = validate(result.submissions, course, result.account, config.max_quarantined, places.data_docs)
    warnings = [str(check) for check in checks if not check.passed]
    result = replace(result, account=replace(result.account, warnings=warnings))
    write_table(result.submissions, places.submissions)
    write_table(result.quarantine, places.quarantine)
    if result.demographics is not None:
        write_table(result.demographics, places.demographics)
    result.account.save(places.account)
    return result


def understand(course: Course, config: IngestConfig, places: Places) -> Ingested:
    """What `ingest` would write, without writing it."""
    good, broken = course.load_assignments()
    places.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=places.data, prefix=".ingest_") as folder:
        staged = read_logs(course, places, Path(folder))
        rows = judge(
            parse(staged.rows, course), staged.fields, course, config.max_code_bytes, good, broken
        ).collect()
    key = load_key(places)
    names = {student: pseudonym(student, key) for student in rows["student"].drop_nulls().unique()}
    rows = _forget(rows.with_columns(_named(names)), read_forgotten(places))
    filters = rows.filter(pl.col("filter").is_not_null())
    bad = rows.filter(pl.col("filter").is_null() & pl.col("reason").is_not_null())
    kept = rows.filter(pl.col("filter").is_null() & pl.col("reason").is_null())
    masker = Masker(key, names, published(course.assignments_folder))
    ordered = order(kept, course.name, "attempt" in staged.fields)
    flow = [
        Step("rows in the log", "in", rows.height + sum(staged.left_out.values())),
        *(Step(name, "filter", count) for name, count in staged.left_out.items()),
        *_steps(filters, "filter"),
        Step("message before the first submission", "filter", ordered.early),
        *_steps(bad, "quarantine", "reason"),
        Step("messages kept with their submissions", "kept", ordered.messages),
        Step("submissions kept", "kept", ordered.submissions.height),
    ]
    flow = [step for step in flow if step.rows or step.kind == "in" or step is flow[-1]]
    if ordered.submissions.is_empty():
        counts = "".join(f"\n  {step.rows:,} x {step.step}" for step in flow[1:-1])
        raise LogError(f"{course.file}: not one row of {rows.height:,} can be used:{counts}")
    account = Account(
        course=course.name,
        synthetic=course.synthetic,
        sources=staged.sources,
        flow=flow,
        broken_assignments=broken,
        notes={"clock behind the submission before, kept in the log's order": ordered.behind},
        masked={},
        warnings=[],
    )
    account.check()
    submissions = _mask(ordered.submissions, masker)
    quarantine = bad.with_columns(masker.texts(bad["value"]).str.slice(0, 80))
    quarantine = quarantine.select(pl.col(name).cast(kind) for name, kind in QUARANTINE.items())
    account = replace(account, masked=dict(masker.counts))
    return Ingested(submissions, quarantine, account, _demographics(kept, course.columns.demographics))


def _demographics(kept: pl.DataFrame, asked: list[str]) -> pl.DataFrame | None:
    if not asked:
        return None
    fields = pl.Struct(dict.fromkeys(asked, pl.String()))
    described = kept.select("student", pl.col("demographics").str.json_decode(fields))
    return described.unnest("demographics").unique(maintain_order=True).sort("student")


def _mask(submissions: pl.DataFrame, masker: Masker) -> pl.DataFrame:
    submissions = submissions.with_columns(masker.programs(submissions["code"]))
    said = (
        submissions.select("messages")
        .explode("messages")
        .drop_nulls()["messages"]
        .struct.field("text")
        .unique()
    )
    masked = dict(zip(said, masker.texts(said), strict=True))
    return submissions.with_columns(
        pl.col("messages").list.eval(
            pl.element().struct.with_fields(pl.field("text").replace(masked)) if masked else pl.element()
        )
    )


def _named(names: dict[str, str]) -> pl.Expr:
    return pl.col("student").replace_strict(names, default=None, return_dtype=pl.String)


def _forget(rows: pl.DataFrame, forgotten: set[str]) -> pl.DataFrame:
    theirs = pl.col("student").is_in(sorted(forgotten))
    return rows.with_columns(
        pl.when(theirs).then(pl.lit("student to be forgotten")).otherwise("filter").alias("filter")
    )


def _steps(rows: pl.DataFrame, kind: str, column: str = "filter") -> Iterable[Step]:
    counts = rows.group_by(column).len().sort("len", column, descending=[True, False])
    return [Step(name, kind, count) for name, count in counts.iter_rows()]

"""From a course's log to submissions: every row is kept, quarantined with a reason, or filtered by name."""

import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import Field

from tutee_grader.config import Section
from tutee_grader.files import write_table
from tutee_serializer.course import Course
from tutee_serializer.errors import LogError
from tutee_serializer.ingest.account import RowAccount, Step
from tutee_serializer.ingest.checks import check_rows, parse_rows
from tutee_serializer.ingest.masks import Masker
from tutee_serializer.ingest.privacy import fingerprint, pseudonym, published
from tutee_serializer.ingest.trajectories import order
from tutee_serializer.ingest.validation import validate
from tutee_serializer.logs import read_log
from tutee_serializer.schemas import QUARANTINE


class IngestConfig(Section):
    """The section `ingest` of params.yaml."""

    max_code_bytes: Annotated[int, Field(gt=0)] = 65_536
    # Share of the log's rows that may be in quarantine before the run stops.
    max_quarantined: Annotated[float, Field(ge=0, le=1)] = 0.2


@dataclass(frozen=True)
class IngestResult:
    """The tables SUBMISSIONS and QUARANTINE of a course, and their account.

    `demographics` has a row per student and the columns that the course file asks for, if it does.
    """

    submissions: pl.DataFrame
    quarantine: pl.DataFrame
    account: RowAccount
    demographics: pl.DataFrame | None = None


def ingest(
    course: Course,
    config: IngestConfig,
    key: bytes,
    forgotten: Collection[str],
    simulated: Path,
    *,
    submissions: Path,
    quarantine: Path,
    demographics: Path,
    account: Path,
    data_docs: Path,
) -> RowAccount:
    """Reads, checks, pseudonymises, validates and writes a course's log, and its Data Docs.

    The first arguments are those of `parse_log`, the others say where the results go. Raises LogError where
    no row can be used, ValidationError where an expectation of level error fails.
    """
    result = parse_log(course, config, key, forgotten, simulated, scratch=submissions.parent)
    checks = validate(result.submissions, course, result.account, config.max_quarantined, data_docs)
    warnings = [str(check) for check in checks if not check.passed]
    write_table(result.submissions, submissions)
    write_table(result.quarantine, quarantine)
    if result.demographics is not None:
        write_table(result.demographics, demographics)
    final = replace(result.account, warnings=warnings)
    final.save(account)
    return final


def parse_log(
    course: Course,
    config: IngestConfig,
    key: bytes,
    forgotten: Collection[str] = (),
    simulated: Path | None = None,
    scratch: Path | None = None,
) -> IngestResult:
    """What `ingest` would write, without writing it.

    `key` is the key of the pseudonyms; students whose pseudonyms are in `forgotten` are left out;
    `simulated` is the log that the course's simulator wrote. Temporary files go to `scratch`.
    """
    good, broken = course.load_assignments()
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".ingest_") as folder:
        staged = read_log(course.log(simulated), Path(folder))
        parsed = parse_rows(staged.rows, course.logs)
        rows = check_rows(
            parsed, staged.fields, course.semesters.all, config.max_code_bytes, good, broken
        ).collect()
    names = {student: pseudonym(student, key) for student in rows["student"].drop_nulls().unique()}
    rows = _forget(rows.with_columns(_named(names)), forgotten)
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
    account = RowAccount(
        course=course.name,
        synthetic=course.synthetic,
        key=fingerprint(key),
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
    return IngestResult(submissions, quarantine, account, _demographics(kept, course.columns.demographics))


def _demographics(kept: pl.DataFrame, asked: list[str]) -> pl.DataFrame | None:
    if not asked:
        return None
    fields = pl.Struct(dict.fromkeys(asked, pl.String()))
    described = kept.select("student", pl.col("demographics").str.json_decode(fields))
    return described.unnest("demographics").unique(maintain_order=True).sort("student")


def _mask(submissions: pl.DataFrame, masker: Masker) -> pl.DataFrame:
    submissions = submissions.with_columns(masker.programs(submissions["code"]))
    texts = (
        submissions.select("messages")
        .explode("messages")
        .drop_nulls()["messages"]
        .struct.field("text")
        .unique()
    )
    masked = dict(zip(texts, masker.texts(texts), strict=True))
    return submissions.with_columns(
        pl.col("messages").list.eval(
            pl.element().struct.with_fields(pl.field("text").replace(masked)) if masked else pl.element()
        )
    )


def _named(names: dict[str, str]) -> pl.Expr:
    return pl.col("student").replace_strict(names, default=None, return_dtype=pl.String)


def _forget(rows: pl.DataFrame, forgotten: Collection[str]) -> pl.DataFrame:
    theirs = pl.col("student").is_in(sorted(forgotten))
    return rows.with_columns(
        pl.when(theirs).then(pl.lit("student to be forgotten")).otherwise("filter").alias("filter")
    )


def _steps(rows: pl.DataFrame, kind: str, column: str = "filter") -> Iterable[Step]:
    counts = rows.group_by(column).len().sort("len", column, descending=[True, False])
    return [Step(name, kind, count) for name, count in counts.iter_rows()]

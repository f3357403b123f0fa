"""From a course's log to submissions: every row is kept, quarantined with a reason, or filtered by name."""

import shutil
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
from tutee_serializer.ingest.assignments import NO_FOLDER, assignment_lines, assignment_table
from tutee_serializer.ingest.checks import check_rows, parse_rows
from tutee_serializer.ingest.cleaning import clean, suggest
from tutee_serializer.ingest.drift import Measure, drift_table
from tutee_serializer.ingest.left_out import left_out, without_role
from tutee_serializer.ingest.masks import Masker
from tutee_serializer.ingest.privacy import fingerprint, pseudonym, published
from tutee_serializer.ingest.trajectories import OrderedLog, order
from tutee_serializer.ingest.validation import validate
from tutee_serializer.logs import read_log
from tutee_serializer.logs.config import LogsConfig
from tutee_serializer.logs.staging import StagedLog
from tutee_serializer.schemas import QUARANTINE, TRAJECTORY
from tutee_serializer.semesters import Roles, resolve

# The names of folders of temporary files, in the folder of the course's tables, begin so.
SCRATCH = ".ingest_"


class IngestConfig(Section):
    """The section `ingest` of params.yaml."""

    max_code_bytes: Annotated[int, Field(gt=0)] = 65_536
    # Share of the log's rows that may be in quarantine before the run stops.
    max_quarantined: Annotated[float, Field(ge=0, le=1)] = 0.2
    # How far a semester may be from the one before until that is a warning (`drift.WARNINGS` where a measure
    # is not named), and, for the newest one, until the run stops.
    warn_drift: dict[Measure, Annotated[float, Field(ge=0)]] = Field(default={})
    max_drift: dict[Measure, Annotated[float, Field(ge=0)]] = Field(default={})


@dataclass(frozen=True)
class IngestResult:
    """The tables SUBMISSIONS and QUARANTINE of a course, their account, and what each semester is for.

    `assignments` has a row per assignment, in the log or in the course's folder: how many rows of how many
    students name it (what filters leave out apart), and its `state`: usable, broken, or no folder.
    `suggestions` are cleaning rules that the log seems to need. `demographics` has a row per student and the
    columns that the course file asks for, if it does.
    """

    submissions: pl.DataFrame
    quarantine: pl.DataFrame
    account: RowAccount
    roles: Roles
    assignments: pl.DataFrame
    suggestions: list[str]
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
    no row can be used or a semester that is asked for is empty, ValidationError where an expectation of
    level error fails.
    """
    result = parse_log(course, config, key, forgotten, simulated, scratch=submissions.parent)
    if problems := result.roles.problems():
        lines = [*problems, *result.account.semesters[1:]]
        raise LogError("\n".join(f"{course.file}: {line}" for line in lines))
    drift = drift_table(result.submissions, result.roles.used)
    with tempfile.TemporaryDirectory(dir=submissions.parent, prefix=SCRATCH) as folder:
        checks = validate(
            result.submissions,
            course,
            result.roles,
            result.account,
            drift,
            Path(folder),
            data_docs,
            config.max_quarantined,
            config.warn_drift,
            config.max_drift,
        )
    warnings = [str(check) for check in checks if not check.passed]
    write_table(result.submissions, submissions)
    write_table(result.quarantine, quarantine)
    if result.demographics is not None:
        write_table(result.demographics, demographics)
    final = replace(result.account, drift=drift.to_dicts(), warnings=warnings)
    final.save(account)
    return final


def parse_log(
    course: Course,
    config: IngestConfig,
    key: bytes,
    forgotten: Collection[str] = (),
    simulated: Path | None = None,
    scratch: Path | None = None,
    first_look: bool = False,
) -> IngestResult:
    """What `ingest` would write, without writing it.

    `key` is the key of the pseudonyms; students whose pseudonyms are in `forgotten` are left out;
    `simulated` is the log that the course's simulator wrote. Temporary files go to `scratch`. A `first_look`
    fills `suggestions`, and where no assignment can be used yet, takes all of the log's as usable.
    """
    good, broken = course.load_assignments(required=not first_look)
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
        for left in scratch.glob(f"{SCRATCH}*"):  # by one that was killed; it holds rows as the log has them
            shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=scratch, prefix=SCRATCH) as folder:
        log = course.log(simulated)
        staged = read_log(log, Path(folder))
        parsed = clean(parse_rows(staged.rows, course.logs, log.one_semester), course.logs.clean)
        known = set(good) or (_named_assignments(parsed) - set(broken) if first_look else set())
        by_date = isinstance(course.logs.semester, dict)
        needs_times = by_date or course.semesters.split == "time"
        rows = check_rows(
            parsed, staged.fields, by_date, needs_times, config.max_code_bytes, known, broken
        ).collect()
    names = {student: pseudonym(student, key) for student in rows["student"].drop_nulls().unique()}
    rows = _forget(rows.with_columns(_named(names)), forgotten)
    masker = Masker(key, names, published(course.assignments_folder))
    without_code = rows.select(*TRAJECTORY, "submitted_at", "row_kind", "filter", "reason")
    roles = resolve(course.semesters, without_code.filter(_usable(), row_kind="submission"))
    rows = rows.with_columns(without_role(roles).alias("filter"))
    semesters = [f"semesters: {roles}", *left_out(rows, roles, masker)]
    filters = rows.filter(pl.col("filter").is_not_null())
    bad = rows.filter(pl.col("filter").is_null() & pl.col("reason").is_not_null())
    kept = rows.filter(_usable())
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
    assignments = assignment_table(rows.filter(pl.col("filter").is_null()), good, broken)
    assignments = _mask_unknown(assignments, masker)
    if ordered.submissions.is_empty():
        lines = [*_reasons(flow[1:-1], assignments), *semesters[1:], *roles.problems()]
        raise LogError("\n".join([f"{course.file}: not one row of {rows.height:,} can be used:", *lines]))
    account = RowAccount(
        course=course.name,
        synthetic=course.synthetic,
        key=fingerprint(key),
        sources=staged.sources,
        flow=flow,
        semesters=semesters,
        broken_assignments=broken,
        notes=_notes(staged, rows, ordered, course.logs),
        masked={},
        drift=[],
        warnings=[],
    )
    account.check()
    submissions = _mask(ordered.submissions, masker)
    quarantine = bad.with_columns(masker.texts(bad["value"]).str.slice(0, 80))
    quarantine = quarantine.select(pl.col(name).cast(kind) for name, kind in QUARANTINE.items())
    account = replace(account, masked=dict(masker.counts))
    return IngestResult(
        submissions,
        quarantine,
        account,
        roles,
        assignments,
        list(suggest(kept, course.logs.clean)) if first_look else [],
        _demographics(kept, course.columns.demographics),
    )


def _mask_unknown(assignments: pl.DataFrame, masker: Masker) -> pl.DataFrame:
    """Without what students may have left where the log should name an assignment."""
    shown = masker.texts(assignments["assignment"]).str.slice(0, 80)
    name = pl.when(state=NO_FOLDER).then(shown).otherwise("assignment")
    return assignments.with_columns(name.alias("assignment"))


def _reasons(steps: Iterable[Step], assignments: pl.DataFrame) -> list[str]:
    """Why no row can be used, a line a reason, and the assignments, where the log names unknown ones."""
    lines = [f"  {step.rows:,} x {step.step}" for step in steps]
    if (assignments["state"] == NO_FOLDER).any():
        lines += ["assignments:", *assignment_lines(assignments)]
    return lines


def _named_assignments(rows: pl.LazyFrame) -> set[str]:
    return set(rows.select(pl.col("assignment").unique().drop_nulls()).collect()["assignment"])


def _notes(staged: StagedLog, rows: pl.DataFrame, ordered: OrderedLog, logs: LogsConfig) -> dict[str, int]:
    """What was noticed and changed: what did not occur is left out, but for the rules asked for."""
    noticed = {
        **staged.notes,
        "clock behind the submission before, kept in the log's order": ordered.behind,
    }
    column = {"trailing_backslash": "cleaned", "truncated": "truncated"}
    cleaned = {f"programs to which rule {rule} applied": int(rows[column[rule]].sum()) for rule in logs.clean}
    return {note: count for note, count in noticed.items() if count} | cleaned


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


def _usable() -> pl.Expr:
    return pl.col("filter").is_null() & pl.col("reason").is_null()


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

"""From a course's log to submissions: every row is kept, quarantined with a reason, or filtered by name."""

import tempfile
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import Field

from tutee_grader.config import Section
from tutee_grader.files import atomic_file, scratch_dir, write_table
from tutee_serializer.course import Course
from tutee_serializer.errors import LogError
from tutee_serializer.ingest.account import RowAccount, Step
from tutee_serializer.ingest.assignments import NO_FOLDER, assignment_lines, assignment_table
from tutee_serializer.ingest.checked_log import IS_QUARANTINED, IS_USABLE, check_log
from tutee_serializer.ingest.cleaning import suggest
from tutee_serializer.ingest.drift import Measure, drift_table
from tutee_serializer.ingest.left_out import left_out, without_role
from tutee_serializer.ingest.masks import Masker
from tutee_serializer.ingest.privacy import fingerprint, published
from tutee_serializer.ingest.submissions import write_submissions
from tutee_serializer.ingest.trajectories import arrivals
from tutee_serializer.ingest.validation import import_in_background, validate
from tutee_serializer.logs import read_log
from tutee_serializer.logs.config import LogsConfig
from tutee_serializer.logs.staging import StagedLog
from tutee_serializer.schemas import QUARANTINE
from tutee_serializer.semesters import Roles, resolve

# The folder of temporary files, beside the tables. An ingest that is killed leaves rows in it, as the
# log has them; the next one removes them.
SCRATCH = ".ingest"


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
class ParsedLog:
    """What a course's log came to beside the table SUBMISSIONS, and what each semester is for.

    `assignments` has a row per assignment, in the log or in the course's folder: how many rows of how many
    students name it (what filters leave out apart), and its `state`: usable, broken, or no folder.
    `suggestions` are cleaning rules that the log seems to need. `demographics` has a row per student and the
    columns that the course file asks for, if it does.
    """

    quarantine: pl.DataFrame
    account: RowAccount
    roles: Roles
    assignments: pl.DataFrame
    suggestions: list[str]
    demographics: pl.DataFrame | None


@dataclass(frozen=True)
class IngestResult(ParsedLog):
    """The same with the table SUBMISSIONS."""

    submissions: pl.DataFrame


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

    The first arguments are those of `parse_log`, the others say where the results go. The log may outgrow
    memory. Raises LogError where no row can be used or a semester that is asked for is empty, ValidationError
    where an expectation of level error fails.
    """
    import_in_background()
    with scratch_dir(submissions.parent / SCRATCH) as folder:
        table = folder / submissions.name
        parsed = _parse(course, config, key, forgotten, simulated, False, table)
        if problems := parsed.roles.problems():
            lines = [*problems, *parsed.account.semesters[1:]]
            raise LogError("\n".join(f"{course.file}: {line}" for line in lines))
        rows = pl.scan_parquet(table)
        drift = drift_table(rows, parsed.roles.used)
        checks = validate(
            rows,
            course,
            parsed.roles,
            parsed.account,
            drift,
            folder / "validation",
            data_docs,
            config.max_quarantined,
            config.warn_drift,
            config.max_drift,
        )
        with atomic_file(submissions) as part:
            table.replace(part)
    write_table(parsed.quarantine, quarantine)
    if parsed.demographics is not None:
        write_table(parsed.demographics, demographics)
    warnings = [str(check) for check in checks if not check.passed]
    final = replace(parsed.account, drift=drift.to_dicts(), warnings=warnings)
    final.save(account)
    return final


def parse_log(
    course: Course,
    config: IngestConfig,
    key: bytes,
    forgotten: Collection[str] = (),
    simulated: Path | None = None,
    first_look: bool = False,
) -> IngestResult:
    """What `ingest` would write, in memory.

    `key` is the key of the pseudonyms; students whose pseudonyms are in `forgotten` are left out;
    `simulated` is the log that the course's simulator wrote. A `first_look` fills `suggestions`, and where no
    assignment can be used yet, takes all of the log's as usable.
    """
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "submissions.parquet")
        parsed = _parse(course, config, key, forgotten, simulated, first_look, table)
        return IngestResult(**vars(parsed), submissions=pl.read_parquet(table))


def _parse(
    course: Course,
    config: IngestConfig,
    key: bytes,
    forgotten: Collection[str],
    simulated: Path | None,
    first_look: bool,
    submissions: Path,
) -> ParsedLog:
    """Writes the table SUBMISSIONS; temporary files go beside it."""
    good, broken = course.load_assignments(required=not first_look)
    folder = submissions.parent
    staged = read_log(course.log(simulated), folder)
    checked = check_log(staged, course, good, broken, key, forgotten, config.max_code_bytes, folder)
    masker = Masker(key, checked.names, published(course.assignments_folder))
    roles = resolve(course.semesters, checked.rows.filter(IS_USABLE, row_kind="submission"))
    rows = checked.rows.with_columns(without_role(roles).alias("filter"))
    semesters = [f"semesters: {roles}", *left_out(rows, roles, masker)]
    kept = rows.filter(IS_USABLE)
    kept = kept.select("position", "block", arrivals(kept).alias("arrived"))
    usable = pl.scan_parquet(checked.files).join(kept.lazy(), on="position", how="semi")
    suggestions = list(suggest(usable, course.logs.clean)) if first_look else []
    described = _demographics(usable, course.columns.demographics)
    counts = write_submissions(
        checked.files, kept, course.name, "attempt" in staged.fields, masker, submissions
    )
    flow = _flow(staged, rows, counts)
    assignments = assignment_table(rows.filter(pl.col("filter").is_null()), good, broken)
    assignments = _mask_unknown(assignments, masker)
    if not counts["submissions"]:
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
        notes=_notes(staged, rows, counts["behind"], course.logs),
        masked={},
        drift=[],
        warnings=[],
    )
    account.check()
    quarantine = _quarantine(rows, checked.bad, masker)
    account = replace(account, masked=dict(masker.counts))
    return ParsedLog(quarantine, account, roles, assignments, suggestions, described)


def _flow(staged: StagedLog, rows: pl.DataFrame, counts: Counter[str]) -> list[Step]:
    """Where the rows of the log went; `counts` are those of `write_submissions`."""
    flow = [
        Step("rows in the log", "in", rows.height + sum(staged.left_out.values())),
        *(Step(name, "filter", count) for name, count in staged.left_out.items()),
        *_steps(rows.filter(pl.col("filter").is_not_null()), "filter"),
        Step("message before the first submission", "filter", counts["early"]),
        *_steps(rows.filter(IS_QUARANTINED), "quarantine", "reason"),
        Step("messages kept with their submissions", "kept", counts["messages"]),
        Step("submissions kept", "kept", counts["submissions"]),
    ]
    return [step for step in flow if step.rows or step.kind == "in" or step is flow[-1]]


def _quarantine(rows: pl.DataFrame, bad: pl.DataFrame, masker: Masker) -> pl.DataFrame:
    """The table QUARANTINE, in the order of the log."""
    reasons = rows.filter(IS_QUARANTINED).select("position", "reason")
    table = reasons.join(bad, on="position").sort("position")
    table = table.with_columns(masker.texts(table["value"]).str.slice(0, 80))
    return table.select(pl.col(name).cast(kind) for name, kind in QUARANTINE.items())


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


def _notes(staged: StagedLog, rows: pl.DataFrame, behind: int, logs: LogsConfig) -> dict[str, int]:
    """What was noticed and changed: what did not occur is left out, but for the rules asked for."""
    noticed = {
        **staged.notes,
        "clock behind the submission before, kept in the log's order": behind,
    }
    column = {"trailing_backslash": "cleaned", "truncated": "truncated"}
    cleaned = {f"programs to which rule {rule} applied": int(rows[column[rule]].sum()) for rule in logs.clean}
    return {note: count for note, count in noticed.items() if count} | cleaned


def _demographics(usable: pl.LazyFrame, asked: list[str]) -> pl.DataFrame | None:
    if not asked:
        return None
    fields = pl.Struct(dict.fromkeys(asked, pl.String()))
    described = usable.select("student", pl.col("demographics").str.json_decode(fields))
    rows = described.unnest("demographics").unique(maintain_order=True)
    return rows.sort("student", maintain_order=True).collect(engine="streaming")


def _steps(rows: pl.DataFrame, kind: str, column: str = "filter") -> Iterable[Step]:
    counts = rows.group_by(pl.col(column).cast(pl.String)).len().sort("len", column, descending=[True, False])
    return [Step(name, kind, count) for name, count in counts.iter_rows()]

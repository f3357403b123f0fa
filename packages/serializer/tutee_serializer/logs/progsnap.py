"""Reads ProgSnap2 v1.0, the field's log format, in the forms that real exports have.

https://cssplice.org/progsnap2/ . A data set is a folder (or a zip) with MainTable.csv, DatasetMetadata.csv
(CodeWorkout: Metadata.csv) and CodeStates/ as a table, as folders or as Git repositories.
"""

import itertools
from collections import Counter
from pathlib import Path

import polars as pl

from tutee_serializer.errors import LogError
from tutee_serializer.logs.archives import find, semester_of, unpack
from tutee_serializer.logs.code_states import read_csv, with_code
from tutee_serializer.logs.config import LogsConfig
from tutee_serializer.logs.staging import (
    Log,
    LogFormat,
    Source,
    StagedLog,
    find_columns,
    stage,
    without_no_value,
)

MAIN_TABLE = "MainTable.csv"
METADATA = ("DatasetMetadata.csv", "Metadata.csv")
NO_METADATA = f"data sets without {METADATA[0]} (by default code states are a table, the clock orders events)"
# The student's work on one assignment in one semester: within these, an order must hold.
ORDER_SCOPE_COLUMNS = {"SubjectID", "AssignmentID", "ProblemID", "TermID", "CourseID", "CourseSectionID"}
DEFAULTS = {
    "student": ["SubjectID"],
    "assignment": ["ProblemID", "AssignmentID"],
    "semester": ["TermID"],
}
OPTIONAL = {
    "attempt": "Order",
    "timestamp": "ServerTimestamp",
    "row": "EventID",
    "score": "Score",
    "code": "Code",
}
# Columns that are read for what they say of an event, beside those that hold a field.
CONSULTED = (
    "CodeStateID",
    "CodeStateSection",
    "ParentEventID",
    "ServerTimezone",
    "ClientTimestamp",
    "ClientTimezone",
)
# The standard's column for what an event Intervention showed the student.
MESSAGE = "InterventionMessage"


def read_progsnap(log: Log, folder: Path) -> StagedLog:
    """Stages every ProgSnap2 data set of the course's log.

    `logs.kinds` says which event types are submissions and which are messages. Without it submissions are
    the events `Submit`, and a data set that has none is read as CodeWorkout's, whose submissions are the
    events `Run.Program` with a Score. Events of other types are left out and counted. Raises LogError where
    a part of the data set is missing or contradicts its metadata.
    """
    read = [_read_dataset(semester, dataset, log, folder) for semester, dataset in _datasets(log, folder)]
    left_out, notes = Counter[str](), Counter[str]()
    for one in read:
        left_out.update(one.left_out)
        notes.update(one.notes)
    return StagedLog(
        pl.concat([one.rows for one in read]),
        [source for one in read for source in one.sources],
        dict(left_out),
        frozenset().union(*(one.fields for one in read)),
        dict(notes),
    )


def _read_dataset(semester: str | None, dataset: Path, log: Log, folder: Path) -> StagedLog:
    main, encoding = read_csv(dataset / MAIN_TABLE, folder)
    main = main.with_row_index("source_row", offset=1).with_columns(pl.col("source_row").cast(pl.Int64))
    metadata = _metadata(dataset, folder)
    mapping = {**DEFAULTS, **log.columns.mapping()}
    if semester is None and _needs_no_term(main, log):
        mapping.pop("semester")
    if semester is not None:
        mapping.pop("semester")
        main = main.with_columns(pl.lit(semester).alias("semester of the file"))
    people = log.columns.demographics
    asked = {f"demographics.{name}": [name] for name in people}
    found = find_columns(f"{dataset.name}/{MAIN_TABLE}", main.columns, mapping | asked, log.file)
    columns = {field: name for field, name in found.items() if field in mapping}
    if semester is not None:
        columns["semester"] = "semester of the file"
    events, others = _events(main, dataset, log.config)
    has_messages = "message" in log.config.kinds.values()
    if has_messages:
        events = _with_messages(events, dataset, columns, log)
    events = events.with_columns(_order(events, dataset, metadata or {}).alias("Order"))
    events = events.with_columns(_time(events).alias("ServerTimestamp"))
    columns["kind"] = "EventType"
    form = (metadata or {}).get("CodeStateRepresentation", "Table")
    events = with_code(events, form, dataset, folder)
    for field, name in OPTIONAL.items():
        if name in events.columns:
            columns.setdefault(field, name)  # what the course file names goes first
    rows = events.select(
        "source_row",
        "reason",
        *(pl.col(name).alias(field) for field, name in columns.items()),
        pl.lit("1").alias("max_score"),
        *([pl.struct(people).struct.json_encode().alias("demographics")] if people else []),
    )
    used = {field: name for field, name in columns.items() if rows[field].null_count() < rows.height}
    consulted = {"source_row", *CONSULTED, *people, *used.values(), *([MESSAGE] if has_messages else [])}
    unused = [name for name in main.columns if name not in consulted]
    return StagedLog(
        stage(rows, dataset.name, 1).lazy(),
        [Source(dataset.name, main.height, encoding, used, unused)],
        {f"event {kind}, neither a submission nor a message": count for kind, count in others.items()},
        frozenset(used),
        {NO_METADATA: 1} if metadata is None else {},
    )


def _datasets(log: Log, folder: Path) -> list[tuple[str | None, Path]]:
    """Each data set of the log, unpacked, with its semester, where its path or name says it."""
    path = log.config.path
    patterns = path if isinstance(path, dict) else {None: str(path)}
    found: list[tuple[str | None, Path]] = []
    numbers = itertools.count()
    for semester, pattern in patterns.items():
        files = find(pattern, log.folder)
        tables = [(name, Path(name)) for name in files if Path(name).name == MAIN_TABLE]
        for archive in (name for name in files if Path(name).suffix.lower() == ".zip"):
            place = folder / f"unpacked_{next(numbers)}"
            place.mkdir()
            unpack(archive, place, flat=False)
            tables += [(archive, table) for table in sorted(place.rglob(MAIN_TABLE))]
        if not tables:
            raise LogError(f"{log.file}: `logs.path`: {pattern} holds no {MAIN_TABLE}, so it is no ProgSnap2")
        for name, table in tables:
            # A data set that is not packed is called like its folder, not like a table in it.
            naming = "folder" if log.config.semester and name == str(table) else log.config.semester
            found.append((semester or semester_of(name, naming), table.parent))
    return found


def _needs_no_term(main: pl.DataFrame, log: Log) -> bool:
    """Whether rows may be without a term: start dates name it, or the course is not split by semester."""
    if isinstance(log.config.semester, dict):
        return True
    by_default = "semester" not in log.columns.mapping()
    return log.one_semester is not None and by_default and not set(DEFAULTS["semester"]) & set(main.columns)


def _metadata(dataset: Path, folder: Path) -> dict[str, str] | None:
    """The properties of a data set, or None where it has no file of them."""
    path = next((dataset / name for name in METADATA if (dataset / name).exists()), None)
    if path is None:
        return None
    table, _ = read_csv(path, folder)
    if not {"Property", "Value"} <= set(table.columns):
        raise LogError(f"{path}: has columns {', '.join(table.columns)}, expected Property and Value")
    return {
        key.strip(): (value or "").strip() for key, value in table.select("Property", "Value").iter_rows()
    }


def _events(main: pl.DataFrame, dataset: Path, logs: LogsConfig) -> tuple[pl.DataFrame, dict[str, int]]:
    """The events that are submissions, scored where any event says it, and messages; how many others are."""
    if missing := sorted({"EventType", "CodeStateID"} - set(main.columns)):
        raise LogError(f"{dataset / MAIN_TABLE}: has no column {', '.join(missing)}, which ProgSnap2 demands")
    if "Score" not in main.columns:
        main = main.with_columns(pl.lit(None, pl.String).alias("Score"))
    main = main.with_columns(without_no_value("Score"))
    kind = pl.col("EventType").str.strip_chars()
    is_chosen = kind.is_in(list(logs.kinds) or ["Submit"])
    if not logs.kinds and main.filter(is_chosen).is_empty():
        is_chosen = (kind == "Run.Program") & pl.col("Score").is_not_null()
    chosen = main.filter(is_chosen)
    others = main.filter(~is_chosen.fill_null(False))
    if {"ParentEventID", "EventID"} <= set(main.columns):
        # A submission's score may be recorded with the run of the tests that it started.
        runs = others.drop_nulls(["ParentEventID", "Score"]).select(
            "ParentEventID", pl.col("Score").alias("run")
        )
        runs = runs.group_by("ParentEventID").agg(pl.col("run").last())
        chosen = chosen.join(
            runs, left_on="EventID", right_on="ParentEventID", how="left", maintain_order="left"
        )
        chosen = chosen.with_columns(pl.coalesce("Score", "run").alias("Score")).drop("run")
    counts = others["EventType"].fill_null("without a type").value_counts(sort=True).iter_rows()
    return chosen, dict(counts)


def _with_messages(events: pl.DataFrame, dataset: Path, columns: dict[str, str], log: Log) -> pl.DataFrame:
    """Gives each message its text and author, in columns that `columns` then names, and takes its code away.

    The text is that of `columns.feedback`, or else the InterventionMessage of the standard. A submission
    keeps what `columns.feedback` says, and its code.
    """
    is_message = (
        pl.col("EventType").str.strip_chars().replace_strict(log.config.kinds, default=None) == "message"
    )
    texts = [columns["feedback"]] if "feedback" in columns else []
    standard = [MESSAGE] if MESSAGE in events.columns else []
    if not texts and not standard:
        kinds = ", ".join(kind for kind, means in log.config.kinds.items() if means == "message")
        raise LogError(
            f"{log.file}: `logs.kinds`: {kinds} are messages, but {dataset.name}/{MAIN_TABLE} has no column "
            f"{MESSAGE}; name the column with their text in `columns.feedback`, or leave them out of `kinds`"
            f"\n  columns found: {', '.join(name for name in events.columns if name != 'source_row')}"
        )
    text = pl.coalesce(without_no_value(name) for name in [*texts, *standard])
    own = pl.col(texts[0]) if texts else pl.lit(None, pl.String)
    columns["feedback"] = texts[0] if texts else MESSAGE
    if "author" not in columns:
        columns["author"] = "author of the message"
        hint = pl.col("EventType").str.to_lowercase().str.contains("hint", literal=True)
        author = pl.when(is_message).then(pl.when(hint).then(pl.lit("hint")).otherwise(pl.lit("tutor")))
        events = events.with_columns(author.alias(columns["author"]))
    return events.with_columns(
        pl.when(is_message).then(text).otherwise(own).alias(columns["feedback"]),
        pl.when(~is_message).then("CodeStateID").alias("CodeStateID"),
    )


def _order(events: pl.DataFrame, dataset: Path, metadata: dict[str, str]) -> pl.Expr:
    """The column Order, where the metadata says that it orders each student's work; else nothing."""
    scope = metadata.get("EventOrderScope", "None").lower()
    within = {name.strip() for name in metadata.get("EventOrderScopeColumns", "").split(";") if name.strip()}
    ordered = scope == "global" or (scope == "restricted" and within and within <= ORDER_SCOPE_COLUMNS)
    if ordered and "Order" in events.columns:
        return pl.col("Order")
    if not {"ServerTimestamp", "ClientTimestamp"} & set(events.columns):
        raise LogError(
            f"{dataset}: nothing orders its events: EventOrderScope is {scope!r}"
            f"{' over ' + ', '.join(sorted(within)) if within else ''}, and there is no timestamp"
        )
    return pl.lit(None, pl.String)


def _time(events: pl.DataFrame) -> pl.Expr:
    """The server's time, or else the client's, with its zone where the next column gives an offset."""
    times = []
    for name in ("Server", "Client"):
        if f"{name}Timestamp" not in events.columns:
            continue
        time = pl.col(f"{name}Timestamp")
        if f"{name}Timezone" in events.columns:
            zone = pl.col(f"{name}Timezone").str.strip_chars()
            offset = zone.str.replace(r"^(\d{2}:?\d{2})$", "+${1}")
            known = offset.str.contains(r"^(UTC|Z|[+-]\d{2}:?\d{2})$") & ~time.str.contains(
                r"(Z|[+-]\d{2}:?\d{2})$"
            )
            time = pl.when(known).then(time + offset).otherwise(time)
        times.append(time)
    return pl.coalesce(times) if times else pl.lit(None, pl.String)


FORMAT = LogFormat(
    "progsnap2",
    read_progsnap,
    fields=frozenset(("student", "assignment", "semester", "code", "attempt", "timestamp", "kind")),
)

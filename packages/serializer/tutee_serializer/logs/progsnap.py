"""Reads ProgSnap2 v1.0, the field's log format, in the forms that real exports have.

https://cssplice.org/progsnap2/ . A data set is a folder (or a zip) with MainTable.csv, DatasetMetadata.csv
(CodeWorkout: Metadata.csv) and CodeStates/ as a table, as folders or as Git repositories.
"""

import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl

from tutee_serializer.errors import LogError
from tutee_serializer.logs.archives import find, semester_of, unpack
from tutee_serializer.logs.encodings import to_utf8
from tutee_serializer.logs.staging import Log, LogFormat, Source, StagedLog, find_columns, stage

MAIN_TABLE = "MainTable.csv"
METADATA = ("DatasetMetadata.csv", "Metadata.csv")
# The student's work on one assignment in one semester: within these, an order must hold.
ORDER_SCOPE_COLUMNS = {"SubjectID", "AssignmentID", "ProblemID", "TermID", "CourseID", "CourseSectionID"}
DEFAULTS = {
    "student": ["SubjectID"],
    "assignment": ["ProblemID", "AssignmentID"],
    "semester": ["TermID"],
}
OPTIONAL = {"row": "EventID", "score": "Score", "code": "Code"}


def read_progsnap(log: Log, folder: Path) -> StagedLog:
    """Stages every ProgSnap2 data set of the course's log.

    Submissions are the events `Submit`; a data set without them is read as CodeWorkout's, whose
    submissions are the events `Run.Program` with a Score. Events of other types are left out and counted.
    Raises LogError where a part of the data set is missing or contradicts its metadata.
    """
    sources: list[Source] = []
    left_out: dict[str, int] = {}
    parts: list[pl.DataFrame] = []
    fields: set[str] = set()
    for semester, dataset in _datasets(log, folder):
        main, encoding = _read_csv(dataset / MAIN_TABLE, folder)
        main = main.with_row_index("source_row", offset=1).with_columns(pl.col("source_row").cast(pl.Int64))
        mapping = {**DEFAULTS, **log.columns.mapping()}
        if semester is None and _needs_no_term(main, log):
            mapping.pop("semester")
        if semester is not None:
            mapping.pop("semester")
            main = main.with_columns(pl.lit(semester).alias("semester of the file"))
        columns = find_columns(f"{dataset.name}/{MAIN_TABLE}", main.columns, mapping, log.file)
        if semester is not None:
            columns["semester"] = "semester of the file"
        events, others = _submissions(main, dataset)
        for kind, count in others.items():
            left_out[f"event {kind}, no submission"] = left_out.get(f"event {kind}, no submission", 0) + count
        events = events.with_columns(_order(events, dataset, folder, log).alias("attempt of the event"))
        events = events.with_columns(_time(events).alias("time of the event"))
        columns |= {"attempt": "attempt of the event", "timestamp": "time of the event"}
        events = _with_code(events, dataset, folder)
        columns |= {field: name for field, name in OPTIONAL.items() if name in events.columns}
        rows = events.select(
            "source_row",
            "reason",
            *(pl.col(name).alias(field) for field, name in columns.items()),
            pl.lit("1").alias("max_score"),
        )
        used = [field for field in columns if rows[field].null_count() < rows.height]
        fields |= set(used)
        parts.append(stage(rows, dataset.name, 1))
        unused = [name for name in main.columns if name not in columns.values() and name != "source_row"]
        sources.append(Source(dataset.name, main.height, encoding, {f: columns[f] for f in used}, unused))
    return StagedLog(pl.concat(parts).lazy(), sources, left_out, frozenset(fields))


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


def _read_csv(path: Path, folder: Path) -> tuple[pl.DataFrame, str]:
    """A table as text, empty fields null, and its encoding."""
    if not path.exists():
        raise LogError(f"{path}: missing from the ProgSnap2 data set; export it again")
    text = to_utf8(path, folder)
    try:
        table = pl.read_csv(text.path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise LogError(f"{path}: cannot be read as a table ({error})") from error
    empty_as_null = pl.all().replace("", None)
    return table.rename(str.strip).with_columns(empty_as_null), text.encoding


def _metadata(dataset: Path, folder: Path) -> dict[str, str]:
    path = next((dataset / name for name in METADATA if (dataset / name).exists()), None)
    if path is None:
        raise LogError(
            f"{dataset}: holds neither {' nor '.join(METADATA)}; which says how events are ordered"
        )
    table, _ = _read_csv(path, folder)
    if not {"Property", "Value"} <= set(table.columns):
        raise LogError(f"{path}: has columns {', '.join(table.columns)}, expected Property and Value")
    return {
        key.strip(): (value or "").strip() for key, value in table.select("Property", "Value").iter_rows()
    }


def _submissions(main: pl.DataFrame, dataset: Path) -> tuple[pl.DataFrame, dict[str, int]]:
    """The events that are submissions, scored where any event says it; and how many others there are."""
    if missing := sorted({"EventType", "CodeStateID"} - set(main.columns)):
        raise LogError(f"{dataset / MAIN_TABLE}: has no column {', '.join(missing)}, which ProgSnap2 demands")
    if "Score" not in main.columns:
        main = main.with_columns(pl.lit(None, pl.String).alias("Score"))
    is_submission = pl.col("EventType") == "Submit"
    if main.filter(is_submission).is_empty():
        is_submission = (pl.col("EventType") == "Run.Program") & pl.col("Score").is_not_null()
    chosen = main.filter(is_submission)
    others = main.filter(~is_submission.fill_null(False))
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


def _order(events: pl.DataFrame, dataset: Path, folder: Path, log: Log) -> pl.Expr:
    """The column Order, where the metadata says that it orders each student's work; else nothing."""
    metadata = _metadata(dataset, folder)
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


def _with_code(events: pl.DataFrame, dataset: Path, folder: Path) -> pl.DataFrame:
    """Adds `Code`, and `reason` where the state an event names is not among the code states."""
    form = _metadata(dataset, folder).get("CodeStateRepresentation", "Table").lower()
    place = dataset / "CodeStates"
    if form == "table":
        code = _code_table(place, folder)
        events = events.join(code, on="CodeStateID", how="left", maintain_order="left")
    else:
        readers: dict[str, Callable[[Path], _States]] = {"directory": _Directories, "git": _Repositories}
        if form not in readers:
            raise LogError(
                f"{dataset}: CodeStateRepresentation is {form!r}; Table, Directory and Git can be read"
            )
        states = readers[form](place)
        section = "CodeStateSection" if "CodeStateSection" in events.columns else None
        found = [
            states.code(row["CodeStateID"], row[section] if section else None)
            for row in events.iter_rows(named=True)
        ]
        events = events.with_columns(
            pl.Series("Code", [code for code, _ in found], pl.String),
            pl.Series("trouble", [reason for _, reason in found], pl.String),
        )
    if "trouble" not in events.columns:
        events = events.with_columns(pl.lit(None, pl.String).alias("trouble"))
    unknown = pl.col("Code").is_null() & pl.col("CodeStateID").is_not_null()
    reason = pl.when(unknown).then(pl.coalesce("trouble", pl.lit("the code state is missing")))
    return events.with_columns(reason.alias("reason"))


def _code_table(place: Path, folder: Path) -> pl.DataFrame:
    tables = sorted(place.glob("*.csv"))
    if not tables:
        raise LogError(f"{place}: holds no table of code states")
    code, _ = _read_csv(tables[0], folder)
    if not {"CodeStateID", "Code"} <= set(code.columns):
        raise LogError(f"{tables[0]}: has columns {', '.join(code.columns)}, expected CodeStateID and Code")
    # A state without code is a student's empty editor: known, and empty.
    return code.select("CodeStateID", pl.col("Code").fill_null("")).unique("CodeStateID", keep="first")


class _States:
    """Code states that are folders of files: a state's program is its one Python file, or the one named."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def files(self, state: str) -> list[str]:
        raise NotImplementedError

    def content(self, state: str, file: str) -> str:
        raise NotImplementedError

    def code(self, state: str | None, section: str | None) -> tuple[str | None, str | None]:
        """The program, or None and the reason."""
        if not state:
            return None, None
        files = self.files(state)
        programs = (
            [file for file in files if file == section] or [f for f in files if f.endswith(".py")] or files
        )
        if not programs:
            return None, "the code state is missing"
        if len(programs) > 1:
            return None, f"the code state has {len(programs)} files, and CodeStateSection names none of them"
        return self.content(state, programs[0]), None


class _Directories(_States):
    def files(self, state: str) -> list[str]:
        folder = (self.place / state).resolve()
        if not folder.is_relative_to(self.place.resolve()) or not folder.is_dir():
            return []
        return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())

    def content(self, state: str, file: str) -> str:
        return (self.place / state / file).read_bytes().decode("utf-8", errors="replace")


class _Repositories(_States):
    """Git: a code state is a commit of one of the repositories below CodeStates."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        repositories = [marker.parent for marker in place.rglob(".git")]
        self.repository = {
            commit: one for one in repositories for commit in _git(one, "rev-list", "--all").decode().split()
        }
        if not self.repository:
            raise LogError(f"{place}: holds no commit of a Git repository")

    def files(self, state: str) -> list[str]:
        if state not in self.repository:
            return []
        names = _git(self.repository[state], "ls-tree", "-r", "-z", "--name-only", state).decode()
        return [name for name in names.split("\0") if name]

    def content(self, state: str, file: str) -> str:
        shown = _git(self.repository[state], "cat-file", "blob", f"{state}:{file}")
        return shown.decode("utf-8", errors="replace")


def _git(repository: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        raise LogError(f"{repository}: git says {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


FORMAT = LogFormat(
    "progsnap2",
    read_progsnap,
    fields=frozenset(("student", "assignment", "semester", "code", "attempt", "timestamp")),
)

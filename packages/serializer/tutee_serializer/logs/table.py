"""Reads logs that are tables: CSV, TSV, JSON Lines, Parquet."""

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow
import pyarrow.csv
import pyarrow.parquet
from tqdm import tqdm

from tutee_serializer.errors import LogError
from tutee_serializer.logs.archives import JSON_LINES, PACKED, PARQUET, TABLES, find, semester_of, unpack
from tutee_serializer.logs.encodings import Text, to_utf8
from tutee_serializer.logs.staging import Log, LogFormat, Source, StagedLog, find_columns, stage, write_parts

BLOCK = 1 << 26  # bytes; a row must fit into one block
LINES = 50_000
DELIMITERS = (",", "\t", ";", "|")


def read_tables(log: Log, folder: Path) -> StagedLog:
    """Stages every table of the course's log; raises LogError where one cannot be read."""
    sources: list[Source] = []
    staged = folder / "staged"
    staged.mkdir()
    files, others = _files(log)
    for semester, name in tqdm(files, desc="reading the log", unit="file", disable=None):
        unpacked = folder / f"unpacked_{len(sources)}"
        unpacked.mkdir()
        for path in unpack(name, unpacked):
            shown = Path(name).name if path.name == Path(name).name else f"{Path(name).name}:{path.name}"
            reader = _Reader(log, path, shown, semester, unpacked)
            rows = write_parts(reader.parts(), staged, f"{len(sources):06d}")
            sources.append(reader.source(rows))
    notes = {f"files among the logs that are no tables, not read ({', '.join(others)})": len(others)}
    rows_of_all = pl.scan_parquet(staged / "*.parquet")
    return StagedLog(rows_of_all, sources, {}, frozenset(log.columns.mapping()), notes if others else {})


def _files(log: Log) -> tuple[list[tuple[str | None, str]], list[str]]:
    """Each table with its semester, where its path or name and not a column says it; and the other files."""
    if log.simulated:
        return [(semester_of(str(log.simulated), log.config.semester), str(log.simulated))], []
    path = log.config.path
    patterns = path if isinstance(path, dict) else {None: path}
    files, others = [], []
    for semester, pattern in patterns.items():
        found = find(str(pattern), log.folder)
        tables = [name for name in found if _suffix(name) in TABLES] if len(found) > 1 else found
        if not tables:
            raise LogError(f"{log.file}: `logs.path`: {pattern} holds no {', '.join(TABLES)} file")
        others += sorted(set(found) - set(tables))
        files += [(semester or semester_of(name, log.config.semester), name) for name in tables]
    return files, others


def _suffix(name: str) -> str:
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    if suffixes and suffixes[-1] in PACKED:
        # A packed file without an inner name (log.zip) is unpacked to see what it holds.
        return suffixes[-2] if len(suffixes) > 1 else TABLES[0]
    return suffixes[-1] if suffixes else ""


class _Reader:
    """One file of a log: its columns are found once, then it is read part by part."""

    def __init__(self, log: Log, path: Path, name: str, semester: str | None, folder: Path) -> None:
        self.name = name
        self.semester = semester
        self.suffix = path.suffix.lower()
        if self.suffix in PARQUET:
            self.text = Text(path, "parquet")
            try:
                self.names = list(pyarrow.parquet.read_schema(path).names)
            except pyarrow.ArrowException as error:
                raise LogError(f"{path}: not a Parquet file ({error}); export it again") from error
        else:
            self.text = to_utf8(path, folder, log.config.encoding)
            self.delimiter = _delimiter(self.text.path)
            read_names = _json_names if self.suffix in JSON_LINES else self._csv_names
            self.names = read_names(self.text.path)
        mapping = log.columns.mapping()
        if semester is not None:
            mapping.pop("semester", None)
        self.columns: dict[str, str] = {}
        self.demographics = log.columns.demographics
        if not self.names:
            return
        asked = {f"demographics.{one}": [one] for one in self.demographics}
        found = find_columns(name, self.names, mapping | asked, log.file)
        self.columns = {field: column for field, column in found.items() if field in mapping}
        if twice := sorted({c for c in self.columns.values() if self.names.count(c) > 1}):
            raise LogError(f"{name}: column {', '.join(map(repr, twice))} occurs twice; rename one of them")

    def source(self, rows: int) -> Source:
        unused = [name for name in self.names if name not in self._wanted]
        return Source(self.name, rows, self.text.encoding, self.columns, unused, self.text.repaired)

    def parts(self) -> Iterator[pl.DataFrame]:
        if not self.names:
            return
        read = (
            self._parquet
            if self.suffix in PARQUET
            else self._json
            if self.suffix in JSON_LINES
            else self._csv
        )
        for part in read():
            if self.semester is not None:
                part = part.with_columns(pl.lit(self.semester).alias("semester"))
            yield stage(part, self.name, 1)

    def _fields(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Columns under their fields' names; one column may serve several fields."""
        own = [name for name in ("source_row", "reason", "field", "value") if name in frame.columns]
        return frame.select(
            *own,
            *(pl.col(f"column {column}").alias(field) for field, column in self.columns.items()),
            *self._described(),
        )

    def _described(self) -> list[pl.Expr]:
        if not self.demographics:
            return []
        described = pl.struct(pl.col(f"column {name}").alias(name) for name in self.demographics)
        return [described.struct.json_encode().alias("demographics")]

    @property
    def _wanted(self) -> list[str]:
        return list(dict.fromkeys([*self.columns.values(), *self.demographics]))

    def _csv_names(self, path: Path) -> list[str]:
        with path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file, delimiter=self.delimiter), [])

    def _csv(self) -> Iterator[pl.DataFrame]:
        wanted = self._wanted
        broken: list[pyarrow.csv.InvalidRow] = []

        def put_aside(row: pyarrow.csv.InvalidRow) -> str:
            broken.append(row)
            return "skip"

        try:
            reader = pyarrow.csv.open_csv(
                self.text.path,
                read_options=pyarrow.csv.ReadOptions(block_size=BLOCK, use_threads=False),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=put_aside
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(wanted, pyarrow.string()),
                    include_columns=wanted,
                    strings_can_be_null=False,
                ),
            )
            following = 1
            waiting: pl.DataFrame | None = None
            for batch in reader:
                if batch.num_rows == 0:
                    continue
                if waiting is not None:
                    yield waiting
                # Arrow counts the header as row 1, and gives no number to a row that is well formed.
                skipped = np.array(
                    [row.number - 1 for row in broken if row.number - 1 >= following], dtype=int
                )
                numbers = np.arange(following, following + batch.num_rows + len(skipped))
                numbers = numbers[~np.isin(numbers, skipped)][: batch.num_rows]
                following = int(numbers[-1]) + 1
                frame = pl.DataFrame(pl.from_arrow(batch)).rename(lambda column: f"column {column}")
                waiting = self._fields(frame.with_columns(pl.Series("source_row", numbers)))
        except pyarrow.ArrowException as error:
            raise LogError(f"{self.name}: cannot be read as a table ({error})") from error
        if waiting is not None:
            yield self._cut_short(waiting) if _has_open_quote(self.text.path) else waiting
        if broken:
            yield _malformed(broken)

    def _cut_short(self, last: pl.DataFrame) -> pl.DataFrame:
        is_last = pl.int_range(pl.len()) == pl.len() - 1
        reasons = {"reason": "cut short: the file ends inside quotes", "field": "", "value": ""}
        return last.with_columns(
            pl.when(is_last).then(pl.lit(text)).alias(name) for name, text in reasons.items()
        )

    def _json(self) -> Iterator[pl.DataFrame]:
        columns = dict.fromkeys((*self.columns, "demographics", "reason", "field", "value"), pl.String())
        with self.text.path.open(encoding="utf-8") as file:
            rows = enumerate((line for line in file if not line.isspace()), start=1)
            while lines := list(islice(rows, LINES)):
                yield pl.DataFrame(
                    [self._json_row(number, line) for number, line in lines],
                    schema={"source_row": pl.Int64(), **columns},
                )

    def _json_row(self, number: int, line: str) -> dict[str, Any]:
        try:
            values = json.loads(line)
        except ValueError as error:
            return {"source_row": number, "reason": f"not JSON: {error}", "field": "", "value": line[:80]}
        if not isinstance(values, dict):
            return {"source_row": number, "reason": "not a JSON object", "field": "", "value": line[:80]}
        fields = {field: _as_text(values.get(column)) for field, column in self.columns.items()}
        described = {name: _as_text(values.get(name)) for name in self.demographics}
        return {"source_row": number, **fields, "demographics": json.dumps(described) if described else None}

    def _parquet(self) -> Iterator[pl.DataFrame]:
        wanted = self._wanted
        first = 1
        for batch in pyarrow.parquet.ParquetFile(self.text.path).iter_batches(LINES, columns=wanted):
            frame = pl.DataFrame(pl.from_arrow(batch))
            frame = frame.select(_text_column(frame[name]).alias(f"column {name}") for name in wanted)
            numbers = pl.int_range(first, first + frame.height, eager=True).alias("source_row")
            first += frame.height
            yield self._fields(frame.with_columns(numbers))


def _malformed(rows: list[pyarrow.csv.InvalidRow]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "source_row": [row.number - 1 for row in rows],
            "reason": ["the row has another number of fields than the header"] * len(rows),
            "field": [f"{row.actual_columns} fields, not {row.expected_columns}" for row in rows],
            "value": [row.text[:80] for row in rows],
        }
    )


def _delimiter(path: Path) -> str:
    """The delimiter that splits the first line into most fields."""
    with path.open(encoding="utf-8") as file:
        line = file.readline()
    return max(DELIMITERS, key=lambda delimiter: len(next(csv.reader([line], delimiter=delimiter), [])))


def _json_names(path: Path) -> list[str]:
    """Keys in the order they first appear, from the first rows of the file."""
    names: dict[str, None] = {}
    with path.open(encoding="utf-8") as file:
        for line in islice(file, 1000):
            try:
                values = json.loads(line)
            except ValueError:
                continue
            if isinstance(values, dict):
                names |= dict.fromkeys(values)
    return list(names)


def _has_open_quote(path: Path) -> bool:
    quotes = 0
    with path.open("rb") as file:
        while chunk := file.read(BLOCK):
            quotes += chunk.count(b'"')
    return quotes % 2 == 1


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _text_column(column: pl.Series) -> pl.Series:
    if isinstance(column.dtype, pl.Datetime):
        zoned = column.dtype.time_zone is not None
        return (column.dt.convert_time_zone("UTC") if zoned else column).dt.strftime(
            "%Y-%m-%dT%H:%M:%S%.6fZ" if zoned else "%Y-%m-%dT%H:%M:%S%.6f"
        )
    return column.cast(pl.String)


FORMAT = LogFormat("table", read_tables)

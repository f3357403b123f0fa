"""Tables, files and folders, written whole or not at all."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from tutee_grader.errors import InputError, UnavailableError


def read_table(path: Path, schema: pl.Schema, stage: str) -> pl.DataFrame:
    """The Parquet table with the columns of `schema` that `tutee STAGE` wrote; raises as `scan_tables`."""
    return scan_tables({path: stage}, schema).collect()


def scan_tables(stages: Mapping[Path, str], schema: pl.Schema) -> pl.LazyFrame:
    """The rows of Parquet tables with the columns of `schema`, each of which `tutee STAGE` wrote.

    Raises InputError for all that are not there, or were written with other columns by another version.
    """
    problems = [problem for path, stage in stages.items() if (problem := _problem(path, schema, stage))]
    if problems:
        raise InputError("\n".join(problems))
    return pl.scan_parquet(list(stages))


def _problem(path: Path, schema: pl.Schema, stage: str) -> str | None:
    """Why a table cannot be used, and the way out; None where it can."""
    try:
        there = pl.read_parquet_schema(path)
    except FileNotFoundError:
        return f"{path}: missing; run `tutee {stage}` first"
    except pl.exceptions.ComputeError as error:
        return f"{path}: not a Parquet table ({error}); remove it, then run `tutee {stage}`"
    differences = [
        f"`{name}` is {there[name]} and not {kind}" if name in there else f"`{name}` is missing"
        for name, kind in schema.items()
        if there.get(name) != kind
    ]
    if not differences:
        return None
    return (
        f"{path}: written by another version of tutee: {', '.join(differences)}; remove it, then run "
        f"`tutee {stage}`"
    )


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Writes a Parquet table, whole or not at all."""
    with atomic_file(path) as part:
        table.write_parquet(part)


def hash_file(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_hash(folder: Path, but: str = "") -> str:
    """A hash over the names and contents of all files in a folder, but that of the name `but`.

    The same models have the same one.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != but)
    hashes = {file.relative_to(folder).as_posix(): hash_file(file) for file in files}
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when the block ends well.

    Until then it stands beside `path` under another name, so a killed run leaves what was there before.
    Raises UnavailableError where the disk is full or the file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def atomic_dir(folder: Path) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `folder` when the block ends well.

    As with `atomic_file`, a killed run leaves what was there before.
    """
    part = folder.with_name(f".{folder.name}.part")
    with _explained(folder):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            yield part
            if folder.exists():
                shutil.rmtree(folder)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def scratch_dir(folder: Path) -> Iterator[Path]:
    """An empty folder, which is there until the block ends. What a killed run left in it goes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or fix its permissions, "
            "then run again"
        ) from error

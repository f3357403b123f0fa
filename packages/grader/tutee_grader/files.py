"""Tables, files and folders, written whole or not at all."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from tutee_grader.errors import InputError, UnavailableError


def read_table(path: Path, stage: str) -> pl.DataFrame:
    """The Parquet table that `tutee STAGE` wrote; raises InputError where it did not."""
    with _written_by(stage, path):
        return pl.read_parquet(path)


def scan_table(path: Path, stage: str) -> pl.LazyFrame:
    """As `read_table`, but only what is asked of it will be read."""
    with _written_by(stage, path):
        table = pl.scan_parquet(path)
        table.collect_schema()
        return table


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Writes a Parquet table, whole or not at all."""
    with atomic_file(path) as part:
        table.write_parquet(part)


def hash_file(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


@contextmanager
def _written_by(stage: str, path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: missing; run `tutee {stage}` first") from None
    except pl.exceptions.ComputeError as error:
        raise InputError(f"{path}: not a Parquet table ({error}); run `tutee {stage}` again") from error

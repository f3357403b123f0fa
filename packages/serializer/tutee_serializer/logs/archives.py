"""Finds the files of a log, and unpacks or fetches them."""

import gzip
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import IO

import fsspec
import pyarrow

from tutee_serializer.errors import LogError

CHUNK = 1 << 24
PACKED = (".gz", ".zst", ".zip")
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
TABLES = (".csv", ".tsv", ".txt", *JSON_LINES, *PARQUET)


def find(pattern: str, folder: Path) -> list[str]:
    """The files behind a path, a folder, a glob or a URL, sorted; raises LogError where there is none.

    A URL that ends in / is a folder, one with a * a glob.
    """
    if "://" in pattern:
        return _find_remote(pattern) if pattern.endswith("/") or "*" in pattern else [pattern]
    path = folder / pattern
    if path.is_dir():
        found = [p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")]
    elif path.exists():
        found = [path]
    else:
        base = Path(path.anchor) if path.is_absolute() else Path()
        found = [p for p in base.glob(str(path.relative_to(path.anchor))) if p.is_file()]
    if not found:
        raise LogError(f"{path}: no file of that name, so there is no log to read")
    return sorted(str(p) for p in found)


def _find_remote(pattern: str) -> list[str]:
    try:
        system, path = fsspec.core.url_to_fs(pattern)
        found = system.glob(path) if "*" in path else system.find(path)
    except (ImportError, OSError, ValueError) as error:
        raise LogError(f"{pattern}: cannot be listed ({error})") from error
    names = [name for name in found if not Path(name).name.startswith(".") and system.isfile(name)]
    if not names:
        raise LogError(f"{pattern}: no file there, so there is no log to read")
    return sorted(system.unstrip_protocol(name) for name in names)


def semester_of(name: str, naming: object) -> str | None:
    """The semester that the file `name` says, where `naming` is `file_name` or `folder`; else None."""
    path = Path(name)
    if naming == "folder":
        return path.parent.resolve().name
    if naming != "file_name":
        return None
    while path.suffix.lower() in (*TABLES, *PACKED):
        path = path.with_suffix("")
    return path.name


def unpack(name: str, folder: Path, flat: bool = True) -> list[Path]:
    """Plain files behind `name`, a local file or a URL; what must be unpacked or fetched goes to `folder`.

    The members of a zip go into one folder, or, with `flat=False`, into their own ones.
    Raises LogError where the file is damaged or cannot be fetched.
    """
    suffix = Path(name).suffix.lower()
    target = folder / Path(name).name.removesuffix(suffix) if suffix in PACKED else folder / Path(name).name
    if "://" not in name and suffix not in PACKED:
        return [Path(name)]
    try:
        with fsspec.open(name, "rb").open() as raw:
            if suffix == ".zip":
                return _unzip(raw, folder, flat)
            with target.open("wb") as plain:
                if suffix == ".gz":
                    with gzip.GzipFile(fileobj=raw) as stream:
                        shutil.copyfileobj(stream, plain, CHUNK)
                elif suffix == ".zst":
                    with pyarrow.CompressedInputStream(raw, "zstd") as stream:
                        while chunk := stream.read(CHUNK):
                            plain.write(chunk)
                else:
                    shutil.copyfileobj(raw, plain, CHUNK)
    except (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, pyarrow.ArrowException) as error:
        raise LogError(f"{name}: damaged or cut short ({error}); fetch or export it again") from error
    except (ImportError, OSError) as error:
        raise LogError(f"{name}: cannot be read ({error})") from error
    return [target]


def _unzip(raw: IO[bytes], folder: Path, flat: bool) -> list[Path]:
    found = []
    with zipfile.ZipFile(raw) as archive:
        if not flat:
            # zipfile itself keeps a member from leaving the folder.
            return [Path(archive.extract(member, folder)) for member in archive.infolist()]
        for number, member in enumerate(archive.infolist()):
            name = Path(member.filename).name
            if member.is_dir() or name.startswith(".") or member.filename.startswith("__MACOSX"):
                continue
            # Two members of different folders may share a name.
            target = folder / f"{number:04d}_{name}"
            with archive.open(member) as source, target.open("wb") as plain:
                shutil.copyfileobj(source, plain, CHUNK)
            found.append(target)
    return found

"""Students' pseudonyms, their key, and taking a student out of tables."""

import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import polars as pl

from tutee_grader.errors import InputError, UnavailableError
from tutee_grader.files import atomic_file, write_table

VARIABLE = "TUTEE_KEY"
SHORTEST_KEY = 16
# What a key is recognised by: no student has this id.
_FINGERPRINTED = "\0 the key of the pseudonyms"


def load_key(path: Path, accounts: Sequence[Path]) -> bytes:
    """The key of the pseudonyms: from the environment, else from a file made on first use.

    Whoever holds the key can test whether a pseudonym is a given student's, so it stays on this machine;
    without it no semester can be added to the same students. `accounts` are the row accounts of the tables
    that are there: under another key than theirs a student would get a second pseudonym, unseen by anyone.
    Raises UnavailableError; InputError where the key is not that of the tables.
    """
    named = os.environ.get(VARIABLE)
    if accounts and not named and not path.exists():
        raise InputError(f"{path}: missing, {_way_out(path, accounts)}")
    key = _load_or_make(path)
    others = [account for account in accounts if _fingerprint_in(account) not in (None, fingerprint(key))]
    if others:
        raise InputError(f"{VARIABLE if named else path}: another key, {_way_out(path, others)}")
    return key


def fingerprint(key: bytes) -> str:
    """Tells keys apart without revealing them; written into the account of what they were used for."""
    return pseudonym(_FINGERPRINTED, key)


def _fingerprint_in(account: Path) -> str | None:
    """None in an account of an older version."""
    written: str | None = json.loads(account.read_text(encoding="utf-8")).get("key")
    return written


def _way_out(path: Path, accounts: Sequence[Path]) -> str:
    folders = ", ".join(str(account.parent) for account in accounts)
    return (
        f"but tables lie in {folders}, whose pseudonyms need the key that they were made with; copy {path} "
        f"(or the value of {VARIABLE}) from the machine that wrote them, or remove {folders} to start anew"
    )


def _load_or_make(path: Path) -> bytes:
    if written := os.environ.get(VARIABLE):
        if len(written) < SHORTEST_KEY:
            raise UnavailableError(
                f"{VARIABLE}: {len(written)} characters are too few to be a secret; "
                f"set at least {SHORTEST_KEY}, or unset it and a key is made"
            )
        return written.encode()
    try:
        if not path.exists():
            _make_key(path)
        return _read_key(path)
    except OSError as error:
        raise UnavailableError(
            f"{path}: the key of the pseudonyms can be neither read nor written ({error}); "
            f"fix that, or set {VARIABLE} in the environment"
        ) from error


def _make_key(path: Path) -> None:
    """Writes a key that only its owner may read, whole or not at all.

    Of two processes that come at the same time only one makes the file: it never takes another's place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.") as part:
        part.write(secrets.token_hex(32))
        part.flush()
        os.fsync(part.fileno())
        with suppress(FileExistsError):
            os.link(part.name, path)


def _read_key(path: Path) -> bytes:
    key = path.read_text().strip()
    if len(key) < SHORTEST_KEY:
        raise UnavailableError(f"{path}: holds no key; restore it, or remove it to have one made")
    return key.encode()


def pseudonym(student: str, key: bytes) -> str:
    """The name a student goes by in every table: 64 bits of a keyed hash of the id, as hexadecimal."""
    return hmac.new(key, student.encode(), hashlib.sha256).hexdigest()[:16]


def published(assignments: Path) -> str:
    """The text of every assignment, in which nothing is a student's secret."""
    files = sorted(path for path in assignments.rglob("*") if path.is_file())
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files)


def read_forgotten(*lists: Path) -> set[str]:
    """Pseudonyms of the students who are left out of every course: all on those lists that are there."""
    return {name for path in lists if path.exists() for name in path.read_text(encoding="utf-8").split()}


def write_forgotten(forgotten: set[str], path: Path) -> None:
    """Writes pseudonyms for `read_forgotten`; the same set always gives the same bytes."""
    with atomic_file(path) as part:
        part.write_text("".join(f"{name}\n" for name in sorted(forgotten)), encoding="utf-8")


def has_student(name: str, tables: Iterable[Path]) -> bool:
    """Whether any of the tables has a row of a student (a pseudonym)."""
    rows = (pl.scan_parquet(table) for table in tables)
    found = (one.filter(pl.col("student") == name) for one in rows if "student" in one.collect_schema())
    return any(not one.select("student").head(1).collect().is_empty() for one in found)


def remove_student(name: str, tables: Sequence[Path]) -> dict[Path, int]:
    """Removes the rows of a student (a pseudonym) from one course's tables; the number of rows, by table.

    A row is theirs by its column `student`, or by a submission or dialog that another table says is theirs.
    """
    ids = {column: _ids_of(name, tables, column) for column in ("submission_id", "dialog_id")}
    removed = {table: _remove(name, ids, table) for table in tables}
    return {table: count for table, count in removed.items() if count}


def _ids_of(name: str, tables: Sequence[Path], column: str) -> list[str]:
    found: set[str] = set()
    for table in tables:
        rows = pl.scan_parquet(table)
        if {"student", column} <= set(rows.collect_schema()):
            found |= set(rows.filter(pl.col("student") == name).select(column).collect()[column])
    return sorted(found)


def _remove(name: str, ids: dict[str, list[str]], table: Path) -> int:
    rows = pl.read_parquet(table)
    theirs = [pl.col("student") == name] if "student" in rows.columns else []
    theirs += [pl.col(column).is_in(known) for column, known in ids.items() if column in rows.columns]
    if not theirs:
        return 0
    kept = rows.filter(~pl.any_horizontal(theirs).fill_null(False))
    if kept.height < rows.height:
        write_table(kept, table)
    return rows.height - kept.height

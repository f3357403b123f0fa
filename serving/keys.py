"""The service's API keys: one file of JSON, which the command `tutee keys` writes and the service reads.

The file holds a hash of each key and never a key. A key is 256 random bits, so one round of SHA-256 is
enough: a slow, salted hash protects passwords, which can be guessed, and no search goes through 2**256 keys.
Whoever steals the file can therefore not use the service.
"""

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tutee_grader.config import describe_errors
from tutee_grader.errors import InputError
from tutee_grader.files import atomic_file

PER_MINUTE = 600  # requests
BYTES = 32
PREFIX = "tutee_"  # so that a key is recognised where it should not be: in a repository, in a log


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Key(_Entry):
    """A key: who it is for, what it is recognised by, and how many requests a minute it may make."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    per_minute: int = Field(default=PER_MINUTE, ge=1, le=1_000_000)


class Keys(_Entry):
    """All keys of a file. `len(keys)` is their number."""

    keys: tuple[Key, ...] = ()

    @model_validator(mode="after")
    def _unique(self) -> "Keys":
        if len({key.name for key in self.keys}) < len(self.keys):
            raise ValueError("two keys have one name")
        return self

    @classmethod
    def load(cls, file: Path) -> "Keys":
        """The keys of a file; none where there is no file. Raises InputError where it cannot be used."""
        try:
            return cls.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror}); fix its permissions") from error
        except ValidationError as error:
            problems = "; ".join(describe_errors(error))
            raise InputError(
                f"{file}: {problems}; correct it, or remove it and make new keys (`tutee keys add NAME`)"
            ) from error

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, secret: str) -> Key | None:
        """The key that `secret` is.

        What is compared are hashes: how long that takes tells nothing of use about the keys.
        """
        digest = _hash(secret)
        return next((key for key in self.keys if secrets.compare_digest(key.sha256, digest)), None)


def add_key(file: Path, name: str, per_minute: int = PER_MINUTE) -> str:
    """Makes a key and returns it, which nobody can do again. Raises InputError."""
    secret = PREFIX + secrets.token_urlsafe(BYTES)
    try:
        key = Key(name=name, sha256=_hash(secret), per_minute=per_minute)
    except ValidationError as error:
        raise InputError("; ".join(describe_errors(error))) from error
    with _locked(file):
        keys = Keys.load(file).keys
        if any(other.name == name for other in keys):
            raise InputError(
                f"{file}: there is a key {name!r} already; choose another name, or `tutee keys revoke {name}`"
            )
        _save(file, (*keys, key))
    return secret


def revoke_key(file: Path, name: str) -> None:
    """Takes a key out of the file. Raises InputError where there is none of this name."""
    with _locked(file):
        keys = Keys.load(file).keys
        left = tuple(key for key in keys if key.name != name)
        if len(left) == len(keys):
            known = ", ".join(key.name for key in keys) or "none"
            raise InputError(f"{file}: there is no key {name!r}; there are: {known}")
        _save(file, left)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _save(file: Path, keys: tuple[Key, ...]) -> None:
    with atomic_file(file) as part:
        part.unlink(missing_ok=True)  # a killed command's, perhaps readable by others
        part.touch(mode=0o600)
        part.write_text(Keys(keys=keys).model_dump_json(indent=1) + "\n", encoding="utf-8")


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Two commands at once change the file one after the other; the kernel frees a killed one's lock."""
    file.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


class KeysFile:
    """The keys of a file that may change at any time: those that it holds now."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, ...] | None = None
        self._keys = Keys()

    def read(self) -> Keys:
        """Raises InputError for as long as the file cannot be used."""
        try:
            stat = self._file.stat()
            now = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        except OSError:
            now = None
        if now is None or now != self._seen:
            self._keys = Keys.load(self._file)
            self._seen = now
        return self._keys

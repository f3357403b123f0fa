"""Keeps students unnamed: keyed pseudonyms for ids, masks for what they wrote about themselves."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from tutee_serializer.errors import SerializerEnvironmentError
from tutee_serializer.places import Places

VARIABLE = "TUTEE_KEY"
SHORTEST_KEY = 16


def load_key(places: Places) -> bytes:
    """The key of the pseudonyms: from the environment, else from a file made on first use.

    Whoever holds the key can test whether a pseudonym is a given student's, so it stays on this machine;
    whoever loses it cannot add a semester to the same students. Raises SerializerEnvironmentError.
    """
    if written := os.environ.get(VARIABLE):
        if len(written) < SHORTEST_KEY:
            raise SerializerEnvironmentError(
                f"{VARIABLE}: {len(written)} characters are too few to be a secret; "
                f"set at least {SHORTEST_KEY}, or unset it and a key is made"
            )
        return written.encode()
    path = places.key
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Only one of two processes that come at the same time makes the file.
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
            file.write(secrets.token_hex(32))
    except FileExistsError:
        pass
    except OSError as error:
        raise SerializerEnvironmentError(
            f"{path}: the key of the pseudonyms cannot be written ({error}); "
            f"mend that, or set {VARIABLE} in the environment"
        ) from error
    return _read_key(path)


def _read_key(path: Path) -> bytes:
    key = path.read_text().strip()
    if len(key) < SHORTEST_KEY:
        raise SerializerEnvironmentError(f"{path}: holds no key; restore it, or remove it to have one made")
    return key.encode()


def pseudonym(student: str, key: bytes) -> str:
    """The name a student goes by in every table: 64 bits of a keyed hash of the id, as hexadecimal."""
    return hmac.new(key, student.encode(), hashlib.sha256).hexdigest()[:16]

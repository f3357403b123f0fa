"""From a text file of any encoding to plain UTF-8 on disk."""

import codecs
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from charset_normalizer import from_bytes

CHUNK = 1 << 24
SAMPLE = 1 << 20
# Replaces a byte that has no meaning; a row that holds one goes to quarantine.
UNREADABLE = "\N{REPLACEMENT CHARACTER}"
# Of the share of chaos, and of coherence, that charset-normalizer sees in a text.
MARGIN = 0.1
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Text:
    """A UTF-8 file, and what its bytes were before.

    `repaired` counts lines that were not in the file's encoding and were read as windows-1252;
    `unreadable` counts lines in which some bytes could not be read at all.
    """

    path: Path
    encoding: str
    repaired: int = 0
    unreadable: int = 0


def to_utf8(path: Path, folder: Path, encoding: str | None = None) -> Text:
    """The same text as UTF-8 without a byte order mark; `encoding` is what the course file says, if it does.

    A UTF-8 file is returned as it is. Otherwise the encoding is detected from the byte order mark or, by
    charset-normalizer, from the lines that are not UTF-8. Lines in a second encoding are read as
    windows-1252 where that gives letters and signs, and else keep UNREADABLE where bytes had no meaning.
    """
    with path.open("rb") as file:
        head = file.read(4)
    marked = next((name for mark, name in _BOMS if head.startswith(mark)), None)
    if encoding is None and marked is None and _is_utf8(path):
        return Text(path, "utf-8")
    named = encoding or marked or _guess(path)
    if re.fullmatch(r"utf[-_]?(16|32).*", named, re.IGNORECASE):
        return _recode_whole(path, folder, named)
    return _recode_lines(path, folder, named)


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        try:
            while chunk := file.read(CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _guess(path: Path) -> str:
    """UTF-8 where most lines that go beyond ASCII are; else what charset-normalizer makes of the others."""
    foreign = bytearray()
    counts = {True: 0, False: 0}
    with path.open("rb") as file:
        for line in file:
            if line.isascii():
                continue
            readable = _readable(line, "utf-8")
            counts[readable] += 1
            if not readable and len(foreign) < SAMPLE:
                foreign += line
    if counts[True] > counts[False]:
        return "utf-8"
    matches = from_bytes(bytes(foreign))
    best = matches.best()
    if best is None:
        return "cp1252"
    # On a short text many code pages do about equally well; then the commonest of them is the likeliest.
    common = [match for match in matches if "cp1252" in (match.encoding, *match.could_be_from_charset)]
    near = any(one.chaos < best.chaos + MARGIN and one.coherence > best.coherence - MARGIN for one in common)
    return "cp1252" if near else best.encoding


def _readable(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _recode_whole(path: Path, folder: Path, encoding: str) -> Text:
    target = folder / f"{path.name}.utf8"
    with (
        path.open(encoding=encoding, errors="replace", newline="") as source,
        target.open("w", encoding="utf-8", newline="") as plain,
    ):
        while chunk := source.read(CHUNK):
            plain.write(chunk)
    return Text(target, encoding)


def _recode_lines(path: Path, folder: Path, encoding: str) -> Text:
    target = folder / f"{path.name}.utf8"
    name = encoding.removesuffix("-sig")
    repaired = unreadable = 0
    with path.open("rb") as source, target.open("wb") as plain:
        for line in _lines(source, encoding):
            if _readable(line, name):
                text = line.decode(name)
            elif (other := _as_cp1252(line)) is not None:
                text = other
                repaired += 1
            else:
                text = line.decode(name, errors="replace")
                unreadable += 1
            plain.write(text.encode())
    return Text(target, encoding, repaired, unreadable)


def _lines(source: IO[bytes], encoding: str) -> Iterator[bytes]:
    for number, line in enumerate(source):
        yield line.removeprefix(codecs.BOM_UTF8) if number == 0 and encoding.startswith("utf-8") else line


def _as_cp1252(line: bytes) -> str | None:
    try:
        text = line.decode("cp1252")
    except UnicodeDecodeError:
        return None
    # Letters, punctuation and signs of money are what people type; other results are chance.
    plausible = all(
        char.isascii() or unicodedata.category(char)[0] in "LP" or unicodedata.category(char) == "Sc"
        for char in text
    )
    return text if plausible else None

"""Masks what students write about themselves in comments and strings of their programs.

Four kinds are looked for: e-mail addresses, phone numbers, student numbers (every id of the log, and
numbers labelled as one) and names in author headers. This finds what has a form; a name in the
middle of a sentence is not found.

A text may be as long as a student likes and of a kind to make a search slow, so each step takes time in
proportion to its length. In a pattern, no two repetitions that can match the same characters stand side by
side, unless the first gives nothing back (`*+`), and a match that fails is not tried again from a place
inside the same run of characters.
"""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

import polars as pl

# Of a longer name its words are looked for.
LONGEST_NAME = 100
# Ids shorter than this are too likely to be a word or a number of the task.
SHORTEST_ID = 5

# Comments and strings, of programs that do not parse as well.
_TOKENS = re.compile(
    r"""(?P<comment>\#[^\n]*)
    |(?P<text>\"{3}[\s\S]*?(?:\"{3}|\Z)|'{3}[\s\S]*?(?:'{3}|\Z))
    |(?P<string>"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)""",
    re.VERBOSE,
)
# Runs without a domain match as well, with group 1 empty: else a search would begin at each of their places.
_EMAIL = re.compile(r"[\w.+-]++(@[\w-]++(?:\.[\w-]++)+)?")
_PHONE = re.compile(
    r"""(?<![\w.+])(?:
      \+\d{1,3}[ .()-]{0,2}(?:\d[ .()-]{0,2}){6,12}\d
    | \(?0\d{1,4}\)?[ .-]\d{2,4}(?:[ .-]?\d{2,4}){1,3}
    | \(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}
    )(?![\w.])""",
    re.VERBOSE,
)
_LABELLED_PHONE = re.compile(
    r"(?i)\b(?:phone|mobile|tel|cell|telephone)[ .:=#]*+(?:(?:no|nr|number)[ .:=#]*+)?(\d{6,15})\b"
)
# Of a number that is one word with `matric`, the last five digits (group 2).
_LABELLED_NUMBER = re.compile(
    r"(?i)\b(?:(?:student|matric\w*+|registration|enrol?ment|stud|id)"
    r"[ ._-]*+(?:id|no|nr|num|number)?[ .:=#]*+([a-z]{0,3}\d{5,10})\b"
    r"|matric\w*+(?<=(\d{5})))"
)
_WORD = r"[^\W\d_][\w.'’-]*"
_NAME = rf"({_WORD}(?:[ ]+{_WORD}){{0,3}})"
_DUNDER = re.compile(rf"__author__\s*=\s*[\"']{_NAME}")
_AUTHOR = re.compile(rf"(?i)(?:\bauthors?|student name|full name)\s*[:=]\s*{_NAME}")
# Here only words in capitals are a name: "by adding one" and "name: the name to greet" are not.
_CREDITS = (
    re.compile(rf"(?i:\b(?:written|created|made|coded|programmed|submitted|done)\s+by)\s*+(?::\s*+)?{_NAME}"),
    re.compile(rf"(?:@author|(?i:my name is)|©|\([cC]\))\s*+(?:\d++\s*+)?{_NAME}"),
    re.compile(rf"(?m)^(?:[^\S\n]|[#*\"'/-])*(?i:name|student|by)\s*[:=-]\s*{_NAME}"),
)
_BEGINNING = re.compile(r"\w+")
_IDS = re.compile(r"[A-Za-z0-9][\w-]*")
# One pass over all programs, in compiled code, finds those that may hold any of the above.
_SUSPECT = (
    r"(?i)[\w-]@[\w-]+\.\w|\+\d|\d[ .-]\d{2,4}[ .-]?\d|\(0?\d+\)|phone|mobile|\btel\b|\bcell\b|author|name"
    r"|student|matric|registration|enrol|\bid\b|\bby\b|©|\(c\)"
)

# Names by the run of letters and digits that they begin with, and by their length.
_Names = dict[str, dict[int, set[str]]]


class Masker:
    """Masks consistently: under one key, the same value always becomes the same mask.

    `ids` are the student ids of the log. What `published`, the texts of the assignments, contains is no
    secret and is left as it is.
    """

    def __init__(self, key: bytes, ids: Iterable[str], published: str = "") -> None:
        self._key = key
        self._ids = {student.lower() for student in ids if len(student) >= SHORTEST_ID}
        self._published = published.lower()
        self.counts: Counter[str] = Counter()

    def programs(self, programs: pl.Series) -> pl.Series:
        """Programs with their comments and strings masked; adds to `counts` how often, by kind."""
        return self._changed(programs, self._program)

    def texts(self, texts: pl.Series) -> pl.Series:
        """The same for plain text."""
        return self._changed(texts, self._text)

    def _changed(self, values: pl.Series, mask: Callable[[str], str]) -> pl.Series:
        suspect = values.str.contains(_SUSPECT)
        if self._ids:
            suspect |= values.str.contains_any(sorted(self._ids), ascii_case_insensitive=True)
        occurrences = values.filter(suspect).value_counts(name="times")
        changed: dict[str, str] = {}
        for value, times in occurrences.iter_rows():
            before = self.counts.copy()
            masked = mask(value)
            if masked != value:
                changed[value] = masked
            # A program that was handed in five times is looked at once and counted five times.
            self.counts += Counter({kind: n * (times - 1) for kind, n in (self.counts - before).items()})
        return values.replace(list(changed), list(changed.values())) if changed else values

    def _program(self, program: str) -> str:
        names = self._names(program)
        parts = []
        end = 0
        for token in _TOKENS.finditer(program):
            parts.append(self._ids_of(program[end : token.start()], in_code=True))
            parts.append(self._text(token.group(), names))
            end = token.end()
        parts.append(self._ids_of(program[end:], in_code=True))
        return "".join(parts)

    def _names(self, program: str) -> _Names:
        """Names in author headers: the comments and long strings, and `__author__`."""
        found = [match.group(1) for match in _DUNDER.finditer(program)]
        for token in _TOKENS.finditer(program):
            if token.lastgroup != "string":
                found += _named(token.group())
        return self._indexed(found)

    def _indexed(self, found: list[str]) -> _Names:
        """The secret ones of the names, and those of their words that are as telling alone."""
        secret = {name for name in found if not self._is_published(name)}
        names: _Names = {}
        for name in {part for whole in secret for part in _parts(whole)}:
            begins = _BEGINNING.match(name)
            if begins and not self._is_published(name):
                names.setdefault(begins.group(), {}).setdefault(len(name), set()).add(name)
        return names

    def _text(self, text: str, names: _Names | None = None) -> str:
        if names is None:
            names = self._indexed(_named(text))
        if "@" in text:
            text = _EMAIL.sub(self._address, text)
        text = _PHONE.sub(lambda match: self._mask("phone number", match.group()), text)
        for kind, pattern in (("phone number", _LABELLED_PHONE), ("student number", _LABELLED_NUMBER)):
            text = pattern.sub(partial(self._inside, kind), text)
        text = self._ids_of(text, in_code=False)
        parts = []
        end = 0
        for start, stop in _whole(names, text):
            parts += [text[end:start], self._mask("name", text[start:stop])]
            end = stop
        return "".join([*parts, text[end:]])

    def _address(self, match: re.Match[str]) -> str:
        return self._mask("e-mail address", match.group()) if match[1] else match.group()

    def _inside(self, kind: str, match: re.Match[str]) -> str:
        group = match.lastindex or 0
        start, end = match.start(group) - match.start(), match.end(group) - match.start()
        whole = match.group()
        return whole[:start] + self._mask(kind, match.group(group)) + whole[end:]

    def _ids_of(self, text: str, in_code: bool) -> str:
        if not self._ids:
            return text

        def one(match: re.Match[str]) -> str:
            word = match.group()
            if word.lower() not in self._ids or self._is_published(word):
                return word
            self.counts["student number"] += 1
            tag = self._tag("student number", word)
            if not in_code:
                return f"<number-{tag}>"
            # Code stays code: a number becomes a number of as many digits, a name a name.
            least = 10 ** (len(word) - 1)
            return str(least + int(tag, 16) % (9 * least)) if word.isdigit() else f"number_{tag}"

        return _IDS.sub(one, text)

    def _is_published(self, value: str) -> bool:
        return value.lower() in self._published

    def _tag(self, kind: str, value: str) -> str:
        return hmac.new(self._key, f"{kind}\0{value.lower()}".encode(), hashlib.sha256).hexdigest()[:6]

    def _mask(self, kind: str, value: str) -> str:
        if self._is_published(value):
            return value
        self.counts[kind] += 1
        return f"<{kind.split()[0]}-{self._tag(kind, value)}>"


def _named(text: str) -> list[str]:
    found = [match.group(1) for match in _AUTHOR.finditer(text)]
    for pattern in _CREDITS:
        found += [_capitals(match.group(1)) for match in pattern.finditer(text)]
    return [name for name in found if len(name) > 1]


def _capitals(name: str) -> str:
    words = []
    for word in name.split():
        if not word[0].isupper():
            break
        words.append(word)
    return " ".join(words)


def _parts(name: str) -> list[str]:
    if len(name) > LONGEST_NAME:
        return [word[:LONGEST_NAME] for word in name.split()]
    return [name, *(word for word in name.split() if len(word) > 2 and word[0].isupper())]


def _whole(names: _Names, text: str) -> list[tuple[int, int]]:
    """Where names stand in `text` as whole words, in order; of names that overlap, the longest."""
    begins = [
        (word.start(), names[word.group()]) for word in _BEGINNING.finditer(text) if word.group() in names
    ]
    found = []
    taken = bytearray(len(text) + 1)
    for length in sorted({length for _, lengths in begins for length in lengths}, reverse=True):
        for start, lengths in begins:
            end = start + length
            # What is taken is as long or longer, so it would take one end of this.
            if text[start:end] not in lengths.get(length, ()) or taken[start] or taken[end - 1]:
                continue
            if taken[end] or not _is_of_word(text[end : end + 1]):
                taken[start:end] = b"\1" * length
                found.append((start, end))
    return sorted(found)


def _is_of_word(character: str) -> bool:
    return character.isalnum() or character == "_"

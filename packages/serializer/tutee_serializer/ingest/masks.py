"""Masks what students write about themselves in comments and strings of their programs.

Four kinds are looked for: e-mail addresses, phone numbers, student numbers (every id of the log, and
numbers labelled as one) and names in author headers. This finds what has a form; a name in the
middle of a sentence is not found.
"""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

import polars as pl

# Ids shorter than this are too likely to be a word or a number of the task.
SHORTEST_ID = 5

# Comments and strings, of programs that do not parse as well.
_TOKENS = re.compile(
    r"""(?P<comment>\#[^\n]*)
    |(?P<text>\"{3}[\s\S]*?(?:\"{3}|\Z)|'{3}[\s\S]*?(?:'{3}|\Z))
    |(?P<string>"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)""",
    re.VERBOSE,
)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_PHONE = re.compile(
    r"""(?<![\w.+])(?:
      \+\d{1,3}[ .()-]{0,2}(?:\d[ .()-]{0,2}){6,12}\d
    | \(?0\d{1,4}\)?[ .-]\d{2,4}(?:[ .-]?\d{2,4}){1,3}
    | \(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}
    )(?![\w.])""",
    re.VERBOSE,
)
_LABELLED_PHONE = re.compile(
    r"(?i)\b(?:phone|mobile|tel|cell|telephone)[ .:=#]*(?:no|nr|number)?[ .:=#]*(\d{6,15})\b"
)
_LABELLED_NUMBER = re.compile(
    r"(?i)\b(?:student|matric\w*|registration|enrol?ment|stud|id)[ ._-]*(?:id|no|nr|num|number)?[ .:=#]*"
    r"([a-z]{0,3}\d{5,10})\b"
)
_WORD = r"[^\W\d_][\w.'’-]*"
_NAME = rf"({_WORD}(?:[ ]+{_WORD}){{0,3}})"
_DUNDER = re.compile(rf"__author__\s*=\s*[\"']{_NAME}")
_AUTHOR = re.compile(rf"(?i)(?:\bauthors?|student name|full name)\s*[:=]\s*{_NAME}")
# Here only words in capitals are a name: "by adding one" and "name: the name to greet" are not.
_CREDITS = (
    re.compile(rf"(?i:\b(?:written|created|made|coded|programmed|submitted|done)\s+by)\s*:?\s*{_NAME}"),
    re.compile(rf"(?:@author|(?i:my name is)|©|\([cC]\))\s*\d*\s*{_NAME}"),
    re.compile(rf"(?m)^[\s#*\"'/-]*(?i:name|student|by)\s*[:=-]\s*{_NAME}"),
)
_IDS = re.compile(r"[A-Za-z0-9][\w-]*")
# One pass over all programs, in compiled code, finds those that may hold any of the above.
_SUSPECT = (
    r"(?i)[\w-]@[\w-]+\.\w|\+\d|\d[ .-]\d{2,4}[ .-]?\d|\(0?\d+\)|phone|mobile|\btel\b|\bcell\b|author|name"
    r"|student|matric|registration|enrol|\bid\b|\bby\b|©|\(c\)"
)


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

    def _names(self, program: str) -> list[str]:
        """Names in author headers: the comments and long strings, and `__author__`."""
        found = [match.group(1) for match in _DUNDER.finditer(program)]
        for token in _TOKENS.finditer(program):
            if token.lastgroup != "string":
                found += _named(token.group())
        return [name for name in found if not self._is_published(name)]

    def _text(self, text: str, names: list[str] | None = None) -> str:
        if names is None:
            names = [name for name in _named(text) if not self._is_published(name)]
        text = _EMAIL.sub(lambda match: self._mask("e-mail address", match.group()), text)
        text = _PHONE.sub(lambda match: self._mask("phone number", match.group()), text)
        for kind, pattern in (("phone number", _LABELLED_PHONE), ("student number", _LABELLED_NUMBER)):
            text = pattern.sub(partial(self._inside, kind), text)
        text = self._ids_of(text, in_code=False)
        for name in sorted(_with_parts(names), key=len, reverse=True):
            whole = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
            text = whole.sub(lambda match: self._mask("name", match.group()), text)
        return text

    def _inside(self, kind: str, match: re.Match[str]) -> str:
        start, end = match.start(1) - match.start(), match.end(1) - match.start()
        whole = match.group()
        return whole[:start] + self._mask(kind, match.group(1)) + whole[end:]

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


def _with_parts(names: list[str]) -> set[str]:
    parts = {part for name in names for part in name.split() if len(part) > 2 and part[0].isupper()}
    return parts | set(names)

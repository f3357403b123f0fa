"""Masking takes time in proportion to a text's length, whatever the text, and masks what plain searches do.

The plain patterns and the search for one name after the other are the slow way to say what is masked; they
stand here only, and both ways must come to the same text.
"""

import math
import re
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tutee_serializer.ingest import masks
from tutee_serializer.ingest.masks import Masker

KEY = b"a key for tests only, not a secret"
ID = "mara-1"

# --- what is masked ---------------------------------------------------------------------------------

PLAIN_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
PLAIN_PHONE = re.compile(
    r"(?i)\b(?:phone|mobile|tel|cell|telephone)[ .:=#]*(?:no|nr|number)?[ .:=#]*(\d{6,15})\b"
)
PLAIN_NUMBER = re.compile(
    r"(?i)\b(?:student|matric\w*|registration|enrol?ment|stud|id)[ ._-]*(?:id|no|nr|num|number)?[ .:=#]*"
    r"([a-z]{0,3}\d{5,10})\b"
)
PLAIN_CREDITS = (
    re.compile(rf"(?i:\b(?:written|created|made|coded|programmed|submitted|done)\s+by)\s*:?\s*{masks._NAME}"),
    re.compile(rf"(?:@author|(?i:my name is)|©|\([cC]\))\s*\d*\s*{masks._NAME}"),
    re.compile(rf"(?m)^[\s#*\"'/-]*(?i:name|student|by)\s*[:=-]\s*{masks._NAME}"),
)


class PlainMasker(Masker):
    """Masks with the plain patterns, and name by name, the longest first."""

    def _text(self, text: str, names: set[str] | None = None) -> str:
        if names is None:
            names = self._indexed(masks._named(text))
        text = PLAIN_EMAIL.sub(lambda match: self._mask("e-mail address", match.group()), text)
        text = masks._PHONE.sub(lambda match: self._mask("phone number", match.group()), text)
        for kind, pattern in (("phone number", PLAIN_PHONE), ("student number", PLAIN_NUMBER)):
            text = pattern.sub(partial(self._inside, kind), text)
        text = self._ids_of(text, in_code=False)
        for name in sorted(names, key=len, reverse=True):
            whole = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
            text = whole.sub(lambda match: self._mask("name", match.group()), text)
        return text

    def _indexed(self, found: list[str]) -> set[str]:
        secret = {name for name in found if not self._is_published(name)}
        parts = {part for name in secret for part in name.split() if len(part) > 2 and part[0].isupper()}
        return secret | parts


def texts(*pieces: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(pieces), max_size=30).map("".join)


BLANKS = (" ", "  ", "\t", "\n", "\u2003")
PLACES = {
    "e-mail": (texts("a", "b", ".", "+", "-", "@", "_", " ", "\u00e4", "7"), PLAIN_EMAIL),
    "phone": (
        texts("phone", "Tel", "telephone", "no", "nr", "number", *" .:=#-", "1", "123456", "x"),
        PLAIN_PHONE,
    ),
    "number": (
        texts(
            *("student", "Stud", "matric", "id", "no", "nr", "num", "number"), *" .:=#-_", "1", "12345", "k"
        ),
        PLAIN_NUMBER,
    ),
}
LINEAR = {"phone": masks._LABELLED_PHONE, "number": masks._LABELLED_NUMBER}


@settings(max_examples=1000, deadline=None)
@pytest.mark.parametrize("kind", PLACES)
@given(data=st.data())
def test_an_address_or_a_number_is_found_where_a_plain_search_finds_it(
    kind: str, data: st.DataObject
) -> None:
    texts, plain = PLACES[kind]
    text = data.draw(texts)
    if kind == "e-mail":
        found = [match.span() for match in masks._EMAIL.finditer(text) if match[1]]
        assert found == [match.span() for match in plain.finditer(text)]
    else:
        found = [match.span(match.lastindex) for match in LINEAR[kind].finditer(text)]
        assert found == [match.span(1) for match in plain.finditer(text)]


CREDITS = (
    texts("written", "Done", *BLANKS, "by", ":", "Ada", "bo", "7", "."),
    texts("@author", "my name is", "\u00a9", "(c)", *BLANKS, "Ada", "bo", "7", ":"),
    texts("name", "Student", "by", *BLANKS, *":=-#*'\"/", "Ada", "bo", "7"),
)


@settings(max_examples=1000, deadline=None)
@pytest.mark.parametrize("number", range(3))
@given(data=st.data())
def test_a_name_is_found_where_a_plain_search_finds_it(number: int, data: st.DataObject) -> None:
    text = data.draw(CREDITS[number])
    found = [match.group(1) for match in masks._CREDITS[number].finditer(text)]
    assert found == [match.group(1) for match in PLAIN_CREDITS[number].finditer(text)]


# Names share words, end in signs and stand one against the other.
WORDS = ("Ada", "mara", "Prof.", "Byron-", "Lovelace", "x")
NAMED = texts("# author: ", "# Done by ", "'", '"""', "\n", " ", "-", "7", *WORDS)


@settings(max_examples=1000, deadline=None)
@given(NAMED)
@example("# Author: Byron- Lovelace\n# Byron-Lovelace, Lovelace-Byron, Byron-\n")
@example("# author: mara x\n# author: x mara Ada\n'mara x mara Ada x'")
def test_whole_names_are_masked_as_they_are_one_after_the_other(program: str) -> None:
    fast, plain = Masker(KEY, [ID]), PlainMasker(KEY, [ID])
    names = plain._names(program)
    assume(len(set(map(len, names))) == len(names))  # which of two equally long ones goes first is open
    assert fast._program(program) == plain._program(program)
    assert fast.counts == plain.counts


def test_of_a_name_that_is_too_long_to_be_one_the_words_are_masked() -> None:
    ruler = "-" * masks.LONGEST_NAME
    masked = Masker(KEY, [])._program(f"# Author: Ada Byron{ruler}\n# Ada and Byron{ruler}\n")
    assert "Ada" not in masked
    assert "Byron" not in masked


# --- how long it takes ------------------------------------------------------------------------------


def headed(begin: str, repeated: str, then: str = "") -> Callable[[int], str]:
    """`begin`, and then the others, each until it has half of the characters."""
    halves = [repeated, then or repeated]
    return lambda n: begin + "".join((half * n)[: n // 2] for half in halves)


def numbered(line: str) -> Callable[[int], str]:
    return lambda n: "".join(line.format(number) for number in range(n // len(line)))


def chained(join: str) -> Callable[[int], str]:
    """Names that are beginnings of one another, and a text in which each word begins all of them."""

    def text(n: int) -> str:
        names = [f"a{join}" * more + "a" for more in range(math.isqrt(n // 2))]
        return "".join(f"# author: {name}\n" for name in names) + "#" + f"a{join}" * (n // 4)

    return text


TEXTS = {
    "a word, no address": headed("", "a"),
    "words and dots, no address": headed("", "a."),
    "half an address": headed("", "a", "a@"),
    "a domain without a dot": headed("a@", "b-"),
    "a telephone and blanks": headed("tel", " "),
    "a telephone and signs": headed("phone", ":=#"),
    "a number's label and blanks": headed("id", " "),
    "a number's label and signs": headed("matric", "_", " "),
    "a number's label and letters": headed("matric", "no_"),
    "labels": headed("", "id no "),
    "nearly phone numbers": headed("", "0123 1234123412341234x "),
    "by nobody": headed("done by", " "),
    "copyright of a year": headed("\u00a9", " ", "1"),
    "copyright of nobody": headed("\u00a9", " "),
    "blank lines": headed("", "\n"),
    "lines of signs": headed("", "\n# - "),
    "an open string": headed('"', '\\"'),
    "quotes": headed("", '"'),
    "one name, many strings": headed("# Author: Ada Byron\n", "'Ada'\n"),
    "many names": numbered("# Author: Ada{0:05} Byron{0:05}\n"),
    "many names that begin alike": numbered("# Author: Ada B{0:05}\n"),
    "names within names": chained("-"),
    "one endless name": headed("# author: ", "a-", "b\n#a-"),
    "ids": headed("# ", f"{ID} "),
}


@pytest.mark.usefixtures("cpu_limit")
@pytest.mark.parametrize("kind", TEXTS)
def test_masking_a_long_text(kind: str) -> None:
    text = TEXTS[kind](200_000)
    masker = Masker(KEY, [ID])
    masker._program(text)
    masker._text(text)

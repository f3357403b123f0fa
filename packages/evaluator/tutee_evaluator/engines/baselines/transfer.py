"""Edits that lead from one program to another, made in a third: what a peer did, done by somebody else."""

import builtins
import keyword
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from tutee_serializer.dialogs.changes import find_changes
from tutee_serializer.programs import parse

# A newline, blanks, a word, any other character: together, every text.
_TOKEN = re.compile(r"\n|[^\S\n]+|\w+|[^\w\s]")
_NOT_NAMES = {*keyword.kwlist, *dir(builtins)}
# Tokens of the third program that an edit may replace beyond twice those that it replaces in the first.
_ROOM = 4


def transfer(before: str, after: str, program: str) -> str | None:
    """`program` with the edits that lead from `before` to `after`; None where one of them has no place there.

    An edit's place is between the tokens that stand on both of its sides. These are found in `program` by
    aligning it with `before`, any name with any other, and names that are aligned mostly with each other are
    exchanged in what the edit writes. None, too, where the result is `program`, or no longer parses.
    """
    old, new, own = (_TOKEN.findall(text) for text in (before, after, program))
    places, names = _align(old, own)
    made = list(own)
    for first, last, start, end in reversed(find_changes(old, new)):
        left, right = places.get(first - 1), places.get(last)
        if left is None or right is None or right - left - 1 > 2 * (last - first) + _ROOM:
            return None
        made[left + 1 : right] = [names.get(token, token) for token in new[start:end]]
    result = "".join(made)
    if result == program or (parse(result) is None and parse(program) is not None):
        return None
    return result


def _align(old: Sequence[str], own: Sequence[str]) -> tuple[dict[int, int], dict[str, str]]:
    """Where the tokens of `old` are in `own`, as far as they are, and what its names are called there.

    The ends count as tokens that are in both.
    """
    places = {-1: -1, len(old): len(own)}
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    written = _without_names(own)
    changes = [*find_changes(_without_names(old), written), (len(old), len(old), len(own), len(own))]
    at = shift = 0
    for (first, last, start, end), (following, *_) in pairwise([*changes, changes[-1]]):
        # Lines that only the student has end with a newline, and do not begin with that of the line before.
        while first == last < following and written[start] == written[end]:
            first, last, start, end = first + 1, last + 1, start + 1, end + 1
        for place in range(at, first):
            places[place] = place + shift
            seen[old[place]][own[place + shift]] += 1
        at, shift = last, end - last
    return places, {token: counts.most_common(1)[0][0] for token, counts in seen.items()}


def _without_names(tokens: Sequence[str]) -> list[str]:
    """The tokens, where all names are the same one: but for keywords, built-in names and attributes."""
    before = ["", *tokens]
    return [
        "name" if token.isidentifier() and token not in _NOT_NAMES and previous != "." else token
        for previous, token in zip(before, tokens, strict=False)
    ]

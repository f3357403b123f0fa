"""The edit distance of two programs: how many of their tokens must change to turn one into the other."""

import io
import re
import tokenize
from collections.abc import Sequence

# Tokens that Python's grammar has no use for, and ends of lines, of which every program has some.
_LEFT_OUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER}
_INDENTATION = {tokenize.INDENT: "<indent>", tokenize.DEDENT: "<dedent>"}
# A comment, which has no group; or a string, a number, a word, an operator, any other sign.
_TOKEN = re.compile(
    r"""#.*|("[^"\n]*"|'[^'\n]*'|\d+\.\d+|\w+|\*\*=?|//=?|<<=?|>>=?|->|[-+*/%@&|^<>=!:]=|[^\w\s])"""
)


def token_distance(one: str, other: str) -> float:
    """The edit distance of the programs' tokens over the longer one's number of tokens.

    From 0, for equal tokens, to 1, for nothing in common. Symmetric.
    """
    return _distance(tokens(one), tokens(other))


def token_distances(pairs: Sequence[tuple[str, str]]) -> list[float]:
    """`token_distance` of each pair, in the same order. Reads a program once, however many pairs it is in."""
    read: dict[str, list[str]] = {}
    known: dict[tuple[str, str], float] = {}
    ordered = [(one, other) if one < other else (other, one) for one, other in pairs]
    for pair in set(ordered):
        for program in pair:
            if program not in read:
                read[program] = tokens(program)
        known[pair] = _distance(read[pair[0]], read[pair[1]])
    return [known[pair] for pair in ordered]


def tokens(program: str) -> list[str]:
    """The program's tokens without comments, blanks and ends of lines; every indentation is the same token.

    Text that Python's own tokenizer does not take is cut up by a pattern, without indentation. An f-string
    is one token for Python 3.11, several from 3.12 on.
    """
    try:
        found = list(tokenize.generate_tokens(io.StringIO(program).readline))
    except (tokenize.TokenError, SyntaxError, ValueError):
        found = []
    if not found or any(token.type == tokenize.ERRORTOKEN for token in found):
        return [token for token in _TOKEN.findall(program) if token]
    return [_INDENTATION.get(token.type, token.string) for token in found if token.type not in _LEFT_OUT]


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """The Levenshtein distance: the least number of tokens to insert, delete or replace.

    By Hyyrö's bit-vectors (2003), after Myers (1999): column by column of the table of distances, a column as
    two numbers, whose bits say in which rows the distance is one more, or one less, than in the row above.
    """
    one, other = _without_common_ends(one, other)
    places: dict[str, int] = {}
    for row, token in enumerate(one):
        places[token] = places.get(token, 0) | 1 << row
    every = (1 << len(one)) - 1
    more, less = every, 0
    for token in other:
        match = places.get(token, 0) | less
        # Rows where the distance is that of the row above in the column before: nothing to pay.
        diagonal = ((((match & more) + more) ^ more) | match) & every
        right_more = (less | ((diagonal | more) ^ every)) << 1 | 1
        right_less = (diagonal & more) << 1
        more = (right_less | ~(diagonal | right_more)) & every
        less = diagonal & right_more & every
    return len(other) + more.bit_count() - less.bit_count()


def indel_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """The least number of elements to insert or delete to turn one into the other.

    The lengths less twice that of the longest common subsequence, by Hyyrö's bit-vector (2004): its zeros are
    the rows of the table in which that is one longer than in the row above.
    """
    one, other = _without_common_ends(one, other)
    places: dict[str, int] = {}
    for row, element in enumerate(one):
        places[element] = places.get(element, 0) | 1 << row
    every = (1 << len(one)) - 1
    same = every
    for element in other:
        match = same & places.get(element, 0)
        same = ((same + match) | (same - match)) & every
    return len(other) - len(one) + 2 * same.bit_count()


def _distance(one: Sequence[str], other: Sequence[str]) -> float:
    longer = max(len(one), len(other))
    return edit_distance(one, other) / longer if longer else 0.0


def _without_common_ends(one: Sequence[str], other: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What is left of both without what they begin and end alike with, which costs nothing."""
    start = _common(one, other)
    one, other = one[start:], other[start:]
    end = _common(one[::-1], other[::-1])
    return one[: len(one) - end], other[: len(other) - end]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    for count, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return count
    return min(len(one), len(other))

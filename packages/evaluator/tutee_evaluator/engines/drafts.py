"""Drafts of a turn's next tokens, taken from the dialog before: a student writes most of a program again."""

from collections.abc import Iterable, Sequence

NUM_DRAFT_TOKENS = 15
NGRAM_SIZES = (12, 2)  # of the last tokens: of 4 to 16 and 1 to 4 these were best


class PromptLookup:
    """A sequence of tokens, and what followed its last ones where they stood before.

    The method is prompt lookup decoding (Saxena, 2023). Where the last tokens stood more than once, the
    latest place counts; a longer n-gram goes before a shorter one.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}  # of the token after an n-gram
        self.extend(tokens)

    def extend(self, tokens: Iterable[int]) -> None:
        """Appends tokens to the sequence."""
        for token in tokens:
            for ngram in self._ngrams():
                self._places[ngram] = len(self._tokens)
            self._tokens.append(token)

    def draft(self) -> list[int]:
        """NUM_DRAFT_TOKENS at most that may come next; none where no n-gram stood there before."""
        for ngram in self._ngrams():
            place = self._places.get(ngram)
            if place is not None:
                return self._tokens[place : place + NUM_DRAFT_TOKENS]
        return []

    def _ngrams(self) -> list[tuple[int, ...]]:
        return [tuple(self._tokens[-size:]) for size in NGRAM_SIZES if len(self._tokens) >= size]

"""Drafts of a turn's next tokens, taken from the dialog before: a student writes most of a program again."""

from collections.abc import Iterable, Sequence

DRAFT = 15  # tokens at most
CONTEXTS = (12, 2)  # tokens that have to have stood there before: of 8 to 16 and 2 to 4, these were best


class PromptLookup:
    """A sequence of tokens, and what followed its last ones where they stood before.

    The method is prompt lookup decoding (Saxena, 2023). Where the last tokens stood more than once, the
    latest place counts; a longer context goes before a shorter one.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}  # of the token after these tokens
        self.extend(tokens)

    def extend(self, tokens: Iterable[int]) -> None:
        """Appends tokens to the sequence."""
        for token in tokens:
            for context in self._contexts():
                self._places[context] = len(self._tokens)
            self._tokens.append(token)

    def draft(self) -> list[int]:
        """The tokens that may come next, DRAFT at most; none where no context stood there before."""
        for context in self._contexts():
            place = self._places.get(context)
            if place is not None:
                return self._tokens[place : place + DRAFT]
        return []

    def _contexts(self) -> list[tuple[int, ...]]:
        return [tuple(self._tokens[-length:]) for length in CONTEXTS if len(self._tokens) >= length]

"""The longest run of each program that stands in one learner's programs, and in nobody else's text.

A suffix automaton (Blumer et al. 1985) holds all runs of tokens of the generated programs. The texts of the
course walk through it, one after the other, and each state keeps who wrote the longest of its runs, and how
long a run somebody else wrote as well. Time grows with the number of tokens, memory with that of the
generated programs alone.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tutee_grader.assignment import Assignment

ANYBODY = -1  # whose text is no learner's secret: the course's, a held-out student's, two students'
TOKENS_AT_ONCE = 250_000  # of generated programs; an automaton of as many takes some 250 MB

_TOKEN = re.compile(r"\w+|[^\w\s]")

Tokens = Sequence[int]


class Vocabulary:
    """Numbers for words and signs: programs are compared without their blanks and line ends."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._lengths: list[int] = []

    def __call__(self, text: str) -> Tokens:
        return [self._number(word) for word in _TOKEN.findall(text)]

    def ends(self, tokens: Tokens) -> list[int]:
        """How many characters there are before each token, and at the end."""
        return list(accumulate((self._lengths[token] for token in tokens), initial=0))

    def _number(self, word: str) -> int:
        number = self._numbers.setdefault(word, len(self._lengths))
        if number == len(self._lengths):
            self._lengths.append(len(word))
        return number


class SuffixAutomaton:
    """All runs of tokens of some programs, to be compared with texts that have owners.

    The runs of a state end at the same places, and have all lengths above that of its link up to its own.
    `_first` is the longest of them that `_owner` wrote, `_second` the longest that others wrote; 0: none.
    """

    def __init__(self, programs: Sequence[Tokens]) -> None:
        self._next: list[dict[int, int]] = [{}]
        self._link, self._length = [-1], [0]
        self._states: list[list[int]] = []  # after each token, by program
        last = 0
        for number, program in enumerate(programs):
            states = []
            for token in program:
                last = self._extend(last, token)
                states.append(last)
            # A mark that no text holds: no run of a text goes on from one program to the next.
            last = self._extend(last, -1 - number)
            self._states.append(states)
        size = len(self._next)
        self._first, self._second, self._owner = [0] * size, [0] * size, [ANYBODY] * size

    def walk(self, text: Tokens, owner: int) -> None:
        """Notes which runs stand in a text of `owner`'s."""
        state = length = 0
        for token in text:
            while state and token not in self._next[state]:
                state = self._link[state]
                length = self._length[state]
            if token in self._next[state]:
                state = self._next[state][token]
                length += 1
                self._note(state, length, owner)

    def longest(self) -> list[list[int]]:
        """For each token of each program, the length of the longest run that ends there and is one learner's.

        Called once, after the last text.
        """
        order = sorted(range(1, len(self._next)), key=self._length.__getitem__)
        for state in reversed(order):
            # Whoever wrote a run wrote every shorter one that ends with it.
            link = self._link[state]
            if self._first[state]:
                self._note(link, self._length[link], self._owner[state])
            if self._second[state]:
                self._second[link] = self._length[link]
        longest = [0] * len(self._next)
        for state in order:
            if not self._first[state]:
                longest[state] = longest[self._link[state]]
            elif self._first[state] > self._second[state] and self._owner[state] != ANYBODY:
                longest[state] = self._first[state]
        return [[longest[state] for state in states] for states in self._states]

    def _note(self, state: int, length: int, owner: int) -> None:
        if owner == self._owner[state]:
            self._first[state] = max(self._first[state], length)
        elif length > self._first[state]:
            self._second[state] = self._first[state]
            self._first[state], self._owner[state] = length, owner
        else:
            self._second[state] = max(self._second[state], length)

    def _extend(self, last: int, token: int) -> int:
        """Adds a token behind the state `last`; returns the new state."""
        new = self._add({}, self._length[last] + 1, 0)
        state = last
        while state >= 0 and token not in self._next[state]:
            self._next[state][token] = new
            state = self._link[state]
        if state < 0:
            return new
        target = self._next[state][token]
        if self._length[target] > self._length[state] + 1:
            copy = self._add(dict(self._next[target]), self._length[state] + 1, self._link[target])
            while state >= 0 and self._next[state].get(token) == target:
                self._next[state][token] = copy
                state = self._link[state]
            self._link[target] = target = copy
        self._link[new] = target
        return new

    def _add(self, following: dict[int, int], length: int, link: int) -> int:
        self._next.append(following)
        self._length.append(length)
        self._link.append(link)
        return len(self._next) - 1


def texts_of(assignments: "Mapping[str, Assignment]") -> Iterator[tuple[str, int]]:
    """The course's own texts, with their owner, as for `longest_overlaps`."""
    for assignment in assignments.values():
        for text in (assignment.task, assignment.solution, assignment.test_source):
            yield text or "", ANYBODY


def longest_overlaps(programs: Sequence[str], texts: Iterable[tuple[str, int]]) -> list[int]:
    """For each program the length of its longest run that is one learner's, in characters without blanks.

    `texts` are those of the course with their owners: a learner's number, or ANYBODY.
    """
    words = Vocabulary()
    owned = [(words(text), owner) for text, owner in texts]
    found: list[int] = []
    for part in _parts([words(program) for program in programs]):
        runs = SuffixAutomaton(part)
        for text, owner in owned:
            runs.walk(text, owner)
        for program, lengths in zip(part, runs.longest(), strict=True):
            ends = words.ends(program)
            found.append(
                max((ends[at] - ends[at - length] for at, length in enumerate(lengths, 1)), default=0)
            )
    return found


def _parts(programs: Sequence[Tokens]) -> Iterator[list[Tokens]]:
    """The programs in parts of about TOKENS_AT_ONCE tokens."""
    parts: defaultdict[int, list[Tokens]] = defaultdict(list)
    before = 0
    for program in programs:
        parts[before // TOKENS_AT_ONCE].append(program)
        before += len(program)
    yield from parts.values()

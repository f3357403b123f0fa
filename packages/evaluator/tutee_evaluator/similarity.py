"""The similarity of two programs: CodeBLEU, as the package `codebleu` computes it, and corrected.

CodeBLEU (Ren et al., arXiv 2009.10297) is the mean of four parts: BLEU over the words, a recall over
the words in which keywords weigh more, the share of the reference's syntax subtrees that the
candidate has, and the share of its data flow. The package finds the syntax and the data flow of each
program once, however many pairs it is in; what the two of a pair share is counted here, for many at a time.

There are two values. `package` is exactly the published formula, for comparison with published tables.
`corrected` fixes four faults of it:

- a data-flow match of 0 counts as a full match, so an empty program scores 0.25 against anything.
  Corrected, it counts as 0, and where the reference has no data flow the other three parts share the
  weight;
- a program of fewer than four words has no n-grams of four words, which lowers its score even against
  itself. Corrected, the n-grams are at most as long as the reference;
- the weighted recall divides by at least 1, which a short program without keywords does not reach.
  Corrected, it divides by the actual weight;
- the weighted recall takes every reference to be two words long, so it hardly ever penalizes a short
  candidate. Corrected, it takes the reference's length.

Corrected, a program scores 1 against itself, and no other scores more.

Many programs are read by several processes. These are spawned, as a fork of a process with threads may
hang; so a script that compares many programs needs its `if __name__ == "__main__":`.
"""

import hashlib
import tokenize
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, count, pairwise
from pathlib import Path
from typing import Any

import codebleu
import numpy as np
from codebleu import dataflow_match
from codebleu.parser import DFG, DFG_python, remove_comments_and_docstrings
from codebleu.utils import get_tree_sitter_language
from numpy.typing import NDArray
from tree_sitter import Node, Parser

from tutee_grader.processes import start_processes, usable_cores

_ORDERS = 4
_OTHER_WORD = 0.2  # the package's weight of a word that is no keyword; a keyword's is 1
_NO_MATCH = 0.1  # what the package takes for no match of an order, so that it has a logarithm

# The columns of counts: keywords and other words, n-grams of two to four words, data flow, subtrees.
_WORDS, _NGRAMS, _FLOW, _SUBTREES = slice(0, 2), slice(2, 5), 5, 6
_COLUMNS = 7

_BLOCK = 50_000  # pairs whose counts are in memory at once
_SMALL = 100  # nodes of a subtree that is told by its text
_PROGRAMS_PER_PROCESS = 500  # a third to half of a second of work, more than it takes to start one
processes: int | None = None  # that read programs, at most; None: one for each usable core

Features = list[dict[Hashable, int]]  # of one program: how often each feature occurs, column by column
Counts = NDArray[np.int32]
Floats = NDArray[np.float64]


class _FirstSeen(dict):
    """A set that keeps its members in the order in which they were added."""

    def __init__(self, members: Iterable[Any] = ()) -> None:
        super().__init__(dict.fromkeys(members))

    def add(self, member: Any) -> None:
        self[member] = None


# The package numbers variables in the order of a set of names, which follows Python's string hashes and so
# changes from process to process (0.708 to 0.725 for one pair). With sets that keep the order of insertion,
# every process gets the same value.
for _module in (dataflow_match, DFG):
    _module.set = _FirstSeen


@dataclass(frozen=True)
class Similarity:
    """CodeBLEU of one pair, 0 to 1, by the package's formula and by the corrected one."""

    package: float
    corrected: float


def compare(pairs: Sequence[tuple[str, str]]) -> list[Similarity]:
    """CodeBLEU of each (reference, candidate) pair, in the same order; equal pairs are computed once.

    Raises BrokenProcessPool where a process that it started was killed.
    """
    if not pairs:
        return []
    programs = list(dict.fromkeys(chain.from_iterable(pairs)))
    numbers = {program: number for number, program in enumerate(programs)}
    numbered = np.fromiter(map(numbers.__getitem__, chain.from_iterable(pairs)), np.int64)
    keys, places = np.unique(numbered[::2] * len(programs) + numbered[1::2], return_inverse=True)
    table = _Table(_read(programs))
    found: list[Similarity] = []
    for start in range(0, len(keys), _BLOCK):
        references, candidates = np.divmod(keys[start : start + _BLOCK], len(programs))
        shared = table.shared(references, candidates)
        values = _values(table.totals[references], table.totals[candidates], shared)
        found += map(Similarity, *(value.tolist() for value in values))
    return [found[place] for place in places.tolist()]


def codebleu_distances(pairs: Sequence[tuple[str, str]]) -> Floats:
    """1 - corrected CodeBLEU of each pair of programs, the mean of both directions: it is symmetric."""
    found = compare([*pairs, *((other, one) for one, other in pairs)])
    there, back = np.array([similarity.corrected for similarity in found]).reshape(2, -1)
    return 1 - (there + back) / 2


def _read(programs: Sequence[str]) -> list[Features]:
    """The features of each program, in order; by several processes where there are enough programs."""
    workers = min(processes or usable_cores(), len(programs) // _PROGRAMS_PER_PROCESS)
    if workers < 2:
        return list(map(_features, programs))
    with start_processes(workers) as pool:
        return list(pool.map(_features, programs, chunksize=1 + len(programs) // (8 * workers)))


def _values(reference: Counts, candidate: Counts, shared: Counts) -> tuple[Floats, Floats]:
    """The package's and the corrected CodeBLEU of pairs, from the counts of either program and of both."""
    wanted, found = _length(reference), _length(candidate)
    penalty = np.minimum(0, 1 - wanted / np.maximum(found, 1))
    precision = _ngrams(shared), _ngrams(candidate)
    match, weight = _weighted(shared), _weighted(reference)
    syntax = shared[:, _SUBTREES] / reference[:, _SUBTREES]
    flow = shared[:, _FLOW] / np.maximum(reference[:, _FLOW], 1)

    # The package measures the list [words, weights], so it takes every reference to be two words long.
    mild_penalty = np.minimum(0, 1 - 2 / np.maximum(found, 1))
    bleu = _bleu(*precision, penalty, _ORDERS)
    recall = _bleu(match, np.maximum(weight, 1), mild_penalty, _ORDERS)
    package = (bleu + recall + syntax + np.where(flow > 0, flow, 1)) / 4

    orders = np.clip(wanted, 1, _ORDERS)
    both = _bleu(*precision, penalty, orders) + _bleu(match, weight, penalty, orders)
    both[(wanted == 0) & (found == 0)] = 2
    corrected = (both + syntax + flow) / np.where(reference[:, _FLOW] > 0, 4, 3)
    return package, corrected


def _length(counts: Counts) -> Counts:
    return counts[:, _WORDS].sum(axis=1)


def _ngrams(counts: Counts) -> Floats:
    """Counts of n-grams of 1 to 4 words."""
    return np.column_stack([_length(counts), counts[:, _NGRAMS]]).astype(float)


def _weighted(counts: Counts) -> Floats:
    """As `_ngrams`, with the single words by their weight."""
    keywords, others = counts[:, _WORDS].T
    return np.column_stack([keywords + _OTHER_WORD * others, counts[:, _NGRAMS]])


def _bleu(match: Floats, total: Floats, penalty: Floats, orders: Counts | int) -> Floats:
    """Geometric mean of match / total over n-grams of up to `orders` words, penalized; 0 without a match."""
    logs = np.log(np.where(match > 0, match, _NO_MATCH) / np.where(total > 0, total, 1))
    used = np.arange(_ORDERS) < np.reshape(orders, (-1, 1))
    mean = (logs * used).sum(axis=1) / orders
    return np.where(match[:, 0] > 0, np.exp(penalty + mean), 0)


class _Table:
    """The features of programs as numbers: in `ids` a program's, column after column.

    The first, second, ... occurrence of a feature in a program have numbers of their own, so that two
    programs share as many of them as the lower count. A subtree has one number, and how often it occurs is
    in `counts`: the candidate need have it only once. 0 begins every column, so that none is empty.
    """

    def __init__(self, programs: Sequence[Features]) -> None:
        fresh = count(1)
        numbers: list[dict[Hashable, int]] = [defaultdict(fresh.__next__) for _ in range(_COLUMNS)]
        self.ids, self.counts, starts = [], [], []
        for program in programs:
            ids: list[int] = []
            counts: list[int] = []
            for column, known in zip(program, numbers, strict=True):
                starts.append(len(ids))
                ids += (0, *map(known.__getitem__, column))
                counts += (0, *column.values())
            self.ids.append(np.array(ids))
            self.counts.append(np.array(counts, np.int32))
        self.size = next(fresh)
        self.lengths = np.array([len(ids) for ids in self.ids])
        self.starts = np.array(starts).reshape(-1, _COLUMNS)
        self.totals = self._sums(np.arange(len(programs)), np.concatenate(self.counts))

    def shared(self, references: NDArray[np.int64], candidates: NDArray[np.int64]) -> Counts:
        """What each pair shares: a row for each pair, which must be in the order of their references."""
        rows = []
        marks = np.zeros(self.size, np.int32)  # the count of each feature in the present reference
        edges = np.flatnonzero(np.diff(references, prepend=-1, append=-1)).tolist()
        for first, end in pairwise(edges):
            reference, others = references[first], candidates[first:end]
            marks[self.ids[reference]] = self.counts[reference]
            features = np.concatenate([self.ids[other] for other in others])
            rows.append(self._sums(others, marks[features]))
            marks[self.ids[reference]] = 0
        return np.concatenate(rows)

    def _sums(self, programs: NDArray[np.int64], counts: Counts) -> Counts:
        """The sum of each column of each program, from a count for each number in their `ids`."""
        lengths = self.lengths[programs]
        starts = self.starts[programs] + (lengths.cumsum() - lengths)[:, None]
        return np.add.reduceat(counts, starts.ravel()).reshape(-1, _COLUMNS)


def _features(program: str) -> Features:
    program = program.strip()
    try:
        bare = remove_comments_and_docstrings(program, "python")
    except (tokenize.TokenError, SyntaxError, ValueError):  # not Python; the package then uses it as it is
        bare = program
    flow = dataflow_match.get_data_flow(bare, (_parser(), DFG_python))
    edges = [(name, how, tuple(of)) for name, how, of in dataflow_match.normalize_dataflow(flow)]
    tree = _parser().parse(bare.encode("utf-8", "surrogatepass"))
    words = program.split()
    lists: list[Iterable[Hashable]] = [
        [word for word in words if word in _keywords()],
        [word for word in words if word not in _keywords()],
        *(zip(*(words[start:] for start in range(order)), strict=False) for order in range(2, _ORDERS + 1)),
        edges,
    ]
    return [*map(_occurrences, lists), dict(Counter(_subtrees(tree.root_node)))]


def _occurrences(features: Iterable[Hashable]) -> dict[Hashable, int]:
    """The first, second, ... occurrence of each feature, each once."""
    return {(feature, n): 1 for feature, times in Counter(features).items() for n in range(times)}


def _subtrees(root: Node) -> list[str]:
    """Every subtree below `root` that is more than a leaf, and the root; equal ones print the same text.

    A small one is its text, without the names. A large one is a hash of its kind and its children: the texts
    of a deep tree, each of which holds the next one, would take quadratic time.
    """
    found: list[str] = []
    keys: dict[int, tuple[str, int]] = {}  # of a node by its id: what it is, and how many nodes it prints
    left = [(root, False)]
    while left:
        node, ready = left.pop()
        if not ready:
            left.append((node, True))
            left.extend((child, False) for child in node.children)
            continue
        printed = [child for child in node.children if child.is_named or child.is_missing]
        size = 1 + sum(keys[child.id][1] for child in printed)
        if size <= _SMALL or not printed:
            key = str(node)
        else:
            fields = {child.id: node.field_name_for_child(at) for at, child in enumerate(node.children)}
            parts = [node.type, *((fields[child.id], keys[child.id][0]) for child in printed)]
            key = hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        keys[node.id] = key, size
        if node.children or node == root:
            found.append(key)
    return found


@cache
def _parser() -> Parser:
    parser = Parser()
    parser.language = get_tree_sitter_language("python")
    return parser


@cache
def _keywords() -> frozenset[str]:
    listed = Path(codebleu.__file__).parent / "keywords" / "python.txt"
    return frozenset(line.strip() for line in listed.read_text(encoding="utf-8").splitlines())

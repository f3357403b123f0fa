"""The similarity of two programs: CodeBLEU, as the package `codebleu` computes it, and corrected.

CodeBLEU (Ren et al., arXiv 2009.10297) is the mean of four parts: BLEU over the words, a recall over
the words in which keywords weigh more, the share of the reference's syntax subtrees that the
candidate has, and the share of its data flow. The package computes the parts; the features of each
program are computed once, however many pairs it is in.

There are two values. `package` is exactly the published formula, for comparison with published tables.
`corrected` fixes three faults of it:

- a data-flow match of 0 counts as a full match, so an empty program scores 0.25 against anything.
  Corrected, it counts as 0, and where the reference has no data flow the other three parts share the
  weight;
- a program of fewer than four words has no n-grams of four words, which lowers its score even against
  itself. Corrected, the n-grams are at most as long as the reference;
- the weighted recall divides by at least 1, which a short program without keywords does not reach.
  Corrected, it divides by the actual weight.

Corrected, a program scores 1 against itself, and no other scores more.
"""

import math
import tokenize
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import codebleu
from codebleu import bleu, dataflow_match, weighted_ngram_match
from codebleu.parser import DFG, DFG_python, remove_comments_and_docstrings
from codebleu.utils import get_tree_sitter_language
from tqdm import tqdm
from tree_sitter import Node, Parser

_ORDERS = 4
_OTHER_WORD = 0.2  # the package's weight of a word that is no keyword


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


@dataclass(frozen=True)
class _Features:
    """What CodeBLEU compares of a program."""

    words: list[str]
    subtrees: list[str]
    flow: list[Any]


def compare(pairs: Sequence[tuple[str, str]], progress: bool = False) -> list[Similarity]:
    """CodeBLEU of each (reference, candidate) pair, in the same order; equal pairs are computed once."""
    features: dict[str, _Features] = {}
    known: dict[tuple[str, str], Similarity] = {}
    for pair in tqdm(set(pairs), desc="CodeBLEU", unit="pair", disable=None if progress else True):
        for program in pair:
            if program not in features:
                features[program] = _features(program)
        known[pair] = _similarity(features[pair[0]], features[pair[1]])
    return [known[pair] for pair in pairs]


def _similarity(reference: _Features, candidate: _Features) -> Similarity:
    flow = _flow_match(reference.flow, candidate.flow)
    syntax = _syntax_match(reference.subtrees, candidate.subtrees)
    weights = {word: 1.0 if word in _keywords() else _OTHER_WORD for word in reference.words}

    plain = bleu.corpus_bleu([[reference.words]], [candidate.words])
    weighted = weighted_ngram_match.corpus_bleu([[[reference.words, weights]]], [candidate.words])
    package = (plain + weighted + syntax + (flow or 1)) / 4

    orders = max(1, min(_ORDERS, len(reference.words)))
    parts = [
        _corrected_bleu(reference.words, candidate.words, orders, None),
        _corrected_bleu(reference.words, candidate.words, orders, weights),
        syntax,
    ]
    if flow is not None:
        parts.append(flow)
    return Similarity(package=package, corrected=sum(parts) / len(parts))


def _corrected_bleu(
    reference: list[str], candidate: list[str], orders: int, weights: dict[str, float] | None
) -> float:
    """BLEU over n-grams of 1 to `orders` words: precision; with `weights` the package's recall."""
    if not reference or not candidate:
        return float(reference == candidate)
    logs = []
    for order in range(1, orders + 1):
        wanted, found = _ngrams(reference, order), _ngrams(candidate, order)
        shared = wanted & found
        weigh = weights if order == 1 else None
        match = _weight(shared, weigh)
        total = _weight(wanted if weights else found, weigh)
        if match == 0 and order == 1:
            return 0.0
        logs.append(math.log((match or 0.1) / (total or 1)))
    penalty = min(1.0, math.exp(1 - len(reference) / len(candidate)))
    return penalty * math.exp(sum(logs) / orders)


def _ngrams(words: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


def _weight(counts: Counter[tuple[str, ...]], weights: dict[str, float] | None) -> float:
    if weights is None:
        return counts.total()
    return math.fsum(count * weights[words[0]] for words, count in counts.items())


def _syntax_match(reference: list[str], candidate: list[str]) -> float:
    have = set(candidate)
    return sum(subtree in have for subtree in reference) / len(reference)


def _flow_match(reference: list[Any], candidate: list[Any]) -> float | None:
    """Share of the reference's data flow that the candidate has; None where the reference has none."""
    if not reference:
        return None
    left = list(candidate)
    matches = 0
    for edge in reference:
        if edge in left:
            left.remove(edge)
            matches += 1
    return matches / len(reference)


def _features(program: str) -> _Features:
    program = program.strip()
    try:
        bare = remove_comments_and_docstrings(program, "python")
    except (tokenize.TokenError, SyntaxError, ValueError):  # not Python; the package then uses it as it is
        bare = program
    flow = dataflow_match.get_data_flow(bare, (_parser(), DFG_python))
    tree = _parser().parse(bare.encode("utf-8", "surrogatepass"))
    return _Features(
        words=program.split(),
        subtrees=_subtrees(tree.root_node),
        flow=dataflow_match.normalize_dataflow(flow),
    )


def _subtrees(root: Node) -> list[str]:
    """Every subtree below `root` that is more than a leaf, and the root, as text without the names."""
    found, left = [], [root]
    while left:
        node = left.pop()
        found.append(str(node))
        left.extend(child for child in node.children if child.children)
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

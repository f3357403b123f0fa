"""Times CodeBLEU of the pairs that energy scores need, beside the package's function pair by pair."""

import json
import logging
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, permutations
from typing import Any

from codebleu import calc_codebleu

from tutee_evaluator.similarity import compare
from tutee_grader.errors import InputError, TuteeError
from tutee_grader.processes import usable_cores

Pair = tuple[str, str]
GROUP = 9  # programs of an energy score: eight samples and the real one
TOLERANCE = 1e-9


def bench_codebleu(
    programs: Iterable[tuple[str, str]], groups: int = 1500, sample: int = 300, rounds: int = 3
) -> dict[str, Any]:
    """CodeBLEU of all ordered pairs within `groups` groups of 9, from (assignment, program) rows.

    The package's function gets a sample of these pairs, one by one, in this process; `compare` gets them all,
    with as many processes as it wants to start, whose start counts. Figures are medians over the rounds.
    The values must agree to 1e-9, whatever the hash seed: the order that `similarity.py` gives to the
    package's sets holds for the package's function, too. Prints and returns the result.
    """
    pairs = energy_pairs(programs, groups)
    chosen = random.Random(0).sample(range(len(pairs)), min(sample, len(pairs)))
    usual_s, ours_s = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        theirs = _pair_by_pair([pairs[place] for place in chosen])
        usual_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        ours = compare(pairs)
        ours_s.append(time.perf_counter() - began)
    difference = max(abs(ours[place].package - value) for place, value in zip(chosen, theirs, strict=True))
    if difference > TOLERANCE:
        raise TuteeError(f"the values differ by up to {difference:g}, so the times mean nothing")
    usual, fast = len(chosen) / statistics.median(usual_s), len(pairs) / statistics.median(ours_s)
    for way, count, rate in (
        ("calc_codebleu, pair by pair", len(chosen), usual),
        ("compare", len(pairs), fast),
    ):
        print(f"{way:<30}{count:>9,} pairs{rate:>10,.0f} pairs/s")
    result = {
        "bench": "codebleu",
        "ratio": round(fast / usual, 1),
        "pairs": len(pairs),
        "pairs_per_second": round(fast),
        "usual_pairs_per_second": round(usual),
        "programs": len(set(chain.from_iterable(pairs))),
        "cores": usable_cores(),
    }
    print(json.dumps(result))
    return result


def energy_pairs(programs: Iterable[tuple[str, str]], groups: int) -> list[Pair]:
    """All ordered pairs within each of `groups` groups of 9 different programs of one assignment."""
    of_assignment: dict[str, dict[str, None]] = defaultdict(dict)
    for assignment, program in programs:
        of_assignment[assignment][program] = None
    large = [list(distinct) for distinct in of_assignment.values() if len(distinct) >= GROUP]
    if not large:
        raise InputError(f"no assignment has {GROUP} different programs")
    draw = random.Random(0)
    chosen = draw.choices(large, [len(distinct) for distinct in large], k=groups)
    return [pair for distinct in chosen for pair in permutations(draw.sample(distinct, GROUP), 2)]


def _pair_by_pair(pairs: Sequence[Pair]) -> list[float]:
    logging.disable(logging.WARNING)  # the package warns of each reference without data flow
    try:
        return [calc_codebleu([one], [other], "python")["codebleu"] for one, other in pairs]
    finally:
        logging.disable(logging.NOTSET)

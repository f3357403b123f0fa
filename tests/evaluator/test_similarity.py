import os
import subprocess
import sys

import pytest
from codebleu import calc_codebleu
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tutee_evaluator.similarity import compare

COUNT = (
    "def count(xs):\n    total = 0\n    for x in xs:\n"
    "        if x > 0:\n            total += x\n    return total\n"
)
# The package collects the data flow of a loop's body twice and merges it with sets of names.
MIXED = "while a < f:\n    a = a + b * c - d\n    e = d + a + b * f\n    d = b - e * c + a\n"
RENAMED = COUNT.replace("total", "n")
BROKEN = "def count(xs)\n    total = 0\n  return total\n"
COMMENTED = '"""Counts."""\n' + COUNT.replace("total = 0", "total = 0  # so far")
LONG = (
    COUNT
    + "\nprint(count([1, 2, 3]))\nwhile True:\n    a, b = b, a + b\n    c = a if a else [q for q in b]\n"
)
PROGRAMS = [
    COUNT,
    RENAMED,
    BROKEN,
    COMMENTED,
    LONG,
    "return x",
    "x = 1",
    "",
    "'é' + é",
    "def f(:\n\t'",
    "\x00",
]


@pytest.mark.parametrize("reference", PROGRAMS)
def test_the_published_value_is_the_packages(reference: str) -> None:
    found = compare([(reference, candidate) for candidate in PROGRAMS])

    theirs = [calc_codebleu([reference], [candidate], "python")["codebleu"] for candidate in PROGRAMS]
    assert [similarity.package for similarity in found] == theirs


@settings(deadline=None, max_examples=60)
@given(st.text() | st.sampled_from(PROGRAMS) | st.lists(st.sampled_from(COUNT.split(" "))).map(" ".join))
@example("")
@example("return x")
def test_a_program_scores_1_against_itself(program: str) -> None:
    assert compare([(program, program)])[0].corrected == 1


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(PROGRAMS) | st.text(), st.sampled_from(PROGRAMS) | st.text())
def test_the_corrected_value_is_between_0_and_1(reference: str, candidate: str) -> None:
    assert 0 <= compare([(reference, candidate)])[0].corrected <= 1


def test_an_empty_program_scores_0_when_corrected() -> None:
    similarity = compare([(COUNT, "")])[0]

    assert similarity.package == 0.25  # the package's value without any data flow
    assert similarity.corrected == 0


def test_without_data_flow_in_the_reference_the_other_parts_share_its_weight() -> None:
    # Data flow is between names, and `pass` has none. Against `pass` and one more line: one of three words
    # matches, and no n-gram is longer than the reference, so BLEU is 1/3; the recall of words is 1; of the
    # reference's two subtrees, the module and the statement, the module differs.
    similarity = compare([("pass", "pass\nreturn 1")])[0]

    assert similarity.corrected == pytest.approx((1 / 3 + 1 + 1 / 2) / 3)


def test_a_data_flow_match_of_0_counts_as_0() -> None:
    # Two of three words match, no pair or triple of words does (0.1 stands for none), no subtree does, and
    # neither does the one flow, from b to a.
    similarity = compare([("a = b", "a == b")])[0]

    assert similarity.corrected == pytest.approx(2 * (2 / 3 * 0.1 / 2 * 0.1) ** (1 / 3) / 4)


def test_pairs_keep_their_order_however_often_they_come() -> None:
    pairs = [(COUNT, LONG), (LONG, COUNT), (COUNT, LONG), (COUNT, COUNT)]

    together = compare(pairs)

    assert together == [compare([pair])[0] for pair in pairs]
    assert together[0] != together[1]


def test_the_value_does_not_vary_with_the_hash_seed() -> None:
    program = (
        "from tutee_evaluator.similarity import compare\n"
        f"print(compare([({MIXED!r}, {MIXED.replace('+ b', '+ e')!r})]))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2", "3")
    }

    assert len(printed) == 1

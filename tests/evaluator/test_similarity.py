import itertools
import math
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from keyword import iskeyword

import pytest
from codebleu import calc_codebleu
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tutee_evaluator import similarity
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
    "if if if",
    "return " * 50,
    "\n".join(f"x{n} = {'+'.join(f'x{k}' for k in range(n))}" for n in range(1, 40)),
]
# Few words, keywords among them, so that n-grams, edges and subtrees come several times and meet often.
WORDS = ["x", "y", "=", "x", "+", "1", "if", "y:", "return", "\n", "\n    ", "é", "# x", "for", "in"]
texts = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join) | st.sampled_from(PROGRAMS) | st.text()


@pytest.mark.parametrize("reference", PROGRAMS)
def test_the_published_value_is_the_packages(reference: str) -> None:
    found = compare([(reference, candidate) for candidate in PROGRAMS])

    theirs = [calc_codebleu([reference], [candidate], "python")["codebleu"] for candidate in PROGRAMS]
    assert [each.package for each in found] == pytest.approx(theirs, abs=1e-9)


@settings(deadline=None)
@given(texts, texts)
def test_the_published_value_is_the_packages_for_any_text(reference: str, candidate: str) -> None:
    theirs = calc_codebleu([reference], [candidate], "python")["codebleu"]

    assert compare([(reference, candidate)])[0].package == pytest.approx(theirs, abs=1e-9)


def corrected_bleu(reference: list[str], candidate: list[str], weights: dict[str, float] | None) -> float:
    """The corrected precision, or the corrected recall where words have weights, as the module defines it."""
    if not reference or not candidate:
        return float(reference == candidate)
    orders = min(4, len(reference))
    logs = 0.0
    for order in range(1, orders + 1):
        wanted, found = (
            Counter(tuple(words[n : n + order]) for n in range(len(words) - order + 1))
            for words in (reference, candidate)
        )
        match, total = wanted & found, wanted if weights else found
        if order == 1 and weights:
            shared, all_of = (sum(weights[word] * n for (word,), n in c.items()) for c in (match, total))
        else:
            shared, all_of = match.total(), total.total()
        if order == 1 and not match:
            return 0.0
        logs += math.log((shared or 0.1) / (all_of or 1))
    return min(1.0, math.exp(1 - len(reference) / len(candidate))) * math.exp(logs / orders)


@settings(deadline=None)
@given(texts, texts)
def test_the_corrected_value_is_the_mean_of_the_corrected_parts(reference: str, candidate: str) -> None:
    package = calc_codebleu([reference], [candidate], "python")
    words, others = reference.split(), candidate.split()
    weights = {word: 1.0 if iskeyword(word) else 0.2 for word in words}
    parts = [
        corrected_bleu(words, others, None),
        corrected_bleu(words, others, weights),
        package["syntax_match_score"],
    ]
    if calc_codebleu([reference], [reference], "python")["dataflow_match_score"]:
        parts.append(package["dataflow_match_score"])

    found = compare([(reference, candidate)])[0].corrected
    assert found == pytest.approx(sum(parts) / len(parts), abs=1e-9)


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


def test_no_pairs_have_no_values() -> None:
    assert compare([]) == []


def test_pairs_that_are_counted_in_several_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(one, other) for one in PROGRAMS for other in PROGRAMS]
    at_once = compare(pairs)

    monkeypatch.setattr(similarity, "_BLOCK", 5)
    assert compare(pairs) == at_once


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "_PROGRAMS_PER_PROCESS", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def test_several_processes_find_the_same(two_processes: None) -> None:
    assert compare([(MIXED, program) for program in PROGRAMS]) == [
        compare([(MIXED, program)])[0] for program in PROGRAMS
    ]


def test_a_killed_process_is_an_error(two_processes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # Programs that end the process that reads them, where it has a parent: this one has none.
    dying = [
        f"__import__('multiprocessing').parent_process() and __import__('os')._exit({n})" for n in range(8)
    ]
    monkeypatch.setattr(similarity, "_features", eval)

    with pytest.raises(BrokenProcessPool):
        compare([(dying[0], program) for program in dying])


def test_processes_end_with_the_one_that_started_them() -> None:
    waiting = "[__import__('os').write(1, b'.'), __import__('time').sleep(100)]"
    program = (
        "import os; os.sched_getaffinity = lambda _: {0, 1}\n"
        "from tutee_evaluator import similarity\n"
        "similarity._PROGRAMS_PER_PROCESS, similarity._features = 1, eval\n"
        f"similarity.compare([({waiting!r}, {waiting + ' '!r})])"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.read(2) == b".."
        process.kill()
        began = time.monotonic()
        # The pipe ends when the last process that writes to it does.
        assert process.stdout.read() == b""
        assert time.monotonic() - began < 50


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


def texts_of_subtrees(program: str) -> Counter[str]:
    """As the package has them: the text of every subtree that is more than a leaf, and of the root."""
    found, left = [], [similarity._parser().parse(program.encode()).root_node]
    while left:
        node = left.pop()
        found.append(str(node))
        left += [child for child in node.children if child.children]
    return Counter(found)


def test_large_subtrees_are_shared_where_their_texts_are() -> None:
    """Beyond the size up to which a subtree is told by its text."""
    body = "".join(f"    x{number} = [a, b.c({number}), (1 if a else 2)]\n" for number in range(60))
    programs = [
        f"def f(a, b):\n{body}",
        f"def f(a, b):\n{body}\n\ndef g(a):\n    return (((a\n",  # does not compile
        f"def f(a, b):\n{body.replace('if', 'or', 1)}    return a\n",
        f"class A:\n    def f(a, b):\n{body.replace('    x', '        x')}",
    ]
    for one, other in itertools.product(programs, repeat=2):
        keys = [Counter(similarity._features(program)[-1]) for program in (one, other)]
        texts = [texts_of_subtrees(program.strip()) for program in (one, other)]
        assert (keys[0] & keys[1]).total() == (texts[0] & texts[1]).total()


@pytest.mark.parametrize("character", ["-", "(", "not ", "f("])
def test_a_deep_program_has_no_long_features(character: str) -> None:
    """The texts of a program's subtrees, each of which holds the next one, would have gigabytes."""
    subtrees = similarity._features(f"{character * 10_000}1")[-1]
    assert max(map(len, subtrees)) < 10_000
    assert sum(map(len, subtrees)) < 10_000_000

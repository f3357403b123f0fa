"""The bench times two ways to the same values, over the pairs of an energy score."""

import json
from collections import Counter

import pytest

from benchmarks import codebleu
from benchmarks.codebleu import GROUP, bench_codebleu, energy_pairs
from tutee_evaluator.similarity import Similarity
from tutee_grader.errors import InputError, TuteeError

PROGRAMS = [(name, f"def {name}(n):\n    return n + {n}") for name in ("one", "two") for n in range(12)]


def test_a_group_is_nine_programs_of_an_assignment_in_all_ordered_pairs() -> None:
    assignment_of = {program: assignment for assignment, program in PROGRAMS}
    pairs = energy_pairs([*PROGRAMS, ("rare", "pass")], groups=1)

    references = Counter(reference for reference, _ in pairs)
    assert len({assignment_of[program] for pair in pairs for program in pair}) == 1
    assert len(set(pairs)) == len(pairs) and {
        (candidate, reference) for reference, candidate in pairs
    } == set(pairs)
    assert sorted(references.values()) == [GROUP - 1] * GROUP


def test_too_few_different_programs_are_an_input_error() -> None:
    with pytest.raises(InputError, match="9 different programs"):
        energy_pairs([*PROGRAMS[: GROUP - 1], PROGRAMS[0]], groups=1)


def test_the_last_line_is_the_result_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    result = bench_codebleu(PROGRAMS, groups=2, sample=20, rounds=1)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and json.loads(lines[-1]) == result
    assert result["pairs"] == 2 * GROUP * (GROUP - 1)
    assert result["ratio"] == pytest.approx(
        result["pairs_per_second"] / result["usual_pairs_per_second"], rel=0.1
    )


def test_times_of_different_values_are_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codebleu, "compare", lambda pairs: [Similarity(0.5, 0.5)] * len(pairs))

    with pytest.raises(TuteeError, match="differ"):
        bench_codebleu(PROGRAMS, groups=1, sample=5, rounds=1)

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutee_evaluator import scores as module
from tutee_evaluator.distance import token_distance
from tutee_evaluator.pairing import STEPS
from tutee_evaluator.scores import SCORES, score
from tutee_evaluator.similarity import codebleu_distances, compare

Turn = tuple[str, float] | str  # a program and its grade, or the outcome

# Of three tokens each: one differs between A and B, one between B and C, two between A and C.
A, B, C = ("a = 1", 0.0), ("a = 2", 50.0), ("b = 2", 100.0)
ENERGIES = ("energy", "energy_tokens")


def forecast(
    samples: Iterable[Sequence[Turn] | Turn], real: tuple[str, float] = A, start: int = 2, **columns: Any
) -> list[dict[str, Any]]:
    """Rows of STEPS: each sample's turns from step 1 on, a single one or several."""
    rows = []
    for sample, turns in enumerate(samples, 1):
        for step, turn in enumerate(turns if isinstance(turns, list) else [turns], 1):
            program, grade = (None, None) if isinstance(turn, str) else turn
            rows.append(
                {
                    "method": "sft",
                    "dialog_id": "ada/double",
                    "start": start,
                    "sample": sample,
                    "step": step,
                    "outcome": turn if isinstance(turn, str) else "program",
                    "code": program,
                    "grade": grade,
                    "solves": grade == 100,
                    "real_code": real[0],
                    "real_grade": real[1],
                    **columns,
                }
            )
    return rows


def scored(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return score(pl.DataFrame(rows, STEPS)).sort("start", "step")


def test_a_small_example_by_hand() -> None:
    row = scored(forecast([A, B, C], real=A)).row(0, named=True)

    # Grades 0, 1/2, 1 against 0: mean distance 1/2; pairs 1/2, 1/2, 1, so 1/2 - (2 * 2) / (2 * 3 * 2).
    assert row["crps"] == pytest.approx(1 / 2 - 4 / 12)
    # Tokens: distances 0, 1/3, 2/3 to A; pairs 1/3, 1/3, 2/3.
    assert row["energy_tokens"] == pytest.approx(1 / 3 - (2 * 4 / 3) / 12)
    assert (row["n"], row["grade_hit"], row["grade_among"]) == (3, 1 / 3, 1)


def test_the_distance_by_codebleu_is_the_mean_of_both_directions() -> None:
    long, short = "def f(n):\n    m = n\n    return m + n\n", "def f(n):\n    return n\n"
    there, back = (similarity.corrected for similarity in compare([(long, short), (short, long)]))
    assert there != back

    row = scored(forecast([(long, 0), (long, 0)], real=(short, 0))).row(0, named=True)

    assert row["energy"] == pytest.approx(1 - (there + back) / 2)


def distances(one: Turn, other: Turn, nothing: float = 1.0) -> dict[str, float]:
    """The distances behind each score; a turn without a program is grade 0, and `nothing` from any other."""
    grades = [0 if isinstance(turn, str) else turn[1] for turn in (one, other)]
    apart = {"crps": abs(grades[0] - grades[1]) / 100}
    if isinstance(one, str) or isinstance(other, str):
        return apart | dict.fromkeys(ENERGIES, nothing)
    there, back = (similarity.corrected for similarity in compare([(one[0], other[0]), (other[0], one[0])]))
    return apart | {"energy": 1 - (there + back) / 2, "energy_tokens": token_distance(one[0], other[0])}


FORECAST: dict[Turn, float] = {A: 1 / 2, C: 1 / 3, "unreadable": 1 / 6}


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_expected_score_of_n_samples_is_that_of_the_distribution(n: int) -> None:
    all_samples = list(itertools.product(FORECAST, repeat=n))

    table = scored([row for start, one in enumerate(all_samples) for row in forecast(one, B, start)])

    chances = [math.prod(FORECAST[turn] for turn in one) for one in all_samples]
    for name in ("crps", *ENERGIES):
        to_real = sum(chance * distances(x, B)[name] for x, chance in FORECAST.items())
        pairs = itertools.product(FORECAST.items(), repeat=2)
        spread = sum(p * q * distances(x, other, nothing=0)[name] for (x, p), (other, q) in pairs)
        expected = sum(chance * value for chance, value in zip(chances, table[name], strict=True))
        assert expected == pytest.approx(to_real - spread / 2)


@pytest.fixture(scope="module")
def of_pairs() -> dict[tuple[Turn, Turn, Turn], dict[str, Any]]:
    """The scores of two samples against what is real, for all (sample, sample, real)."""
    cases = list(itertools.product([A, B, C, "unreadable"], [A, B, C, "unreadable"], [A, B, C]))
    rows = [row for start, (*two, real) in enumerate(cases) for row in forecast(two, real, start)]
    return dict(zip(cases, scored(rows).rows(named=True), strict=True))


weights = st.lists(st.integers(0, 10), min_size=4, max_size=4).filter(any)


@settings(deadline=None, max_examples=50)
@given(weights, weights.filter(lambda weights: any(weights[:3])))
def test_no_forecast_is_better_than_the_truth(
    of_pairs: dict[tuple[Turn, Turn, Turn], dict[str, Any]], wrong: list[int], right: list[int]
) -> None:
    truth = dict(zip([A, B, C], right[:3], strict=False))

    def expected(name: str, forecast: dict[Turn, int]) -> float:
        total = sum(
            forecast.get(one, 0) * forecast.get(other, 0) * truth[real] * row[name]
            for (one, other, real), row in of_pairs.items()
        )
        return total / sum(forecast.values()) ** 2 / sum(truth.values())

    other: dict[Turn, int] = dict(zip([A, B, C, "unreadable"], wrong, strict=True))
    for name in ("crps", *ENERGIES):
        assert expected(name, dict(truth)) <= expected(name, other) + 1e-9


@pytest.mark.parametrize("n", [2, 5])
def test_the_energy_of_copy_is_its_distance(n: int) -> None:
    row = scored(forecast([A] * n, real=C)).row(0, named=True)

    assert row["energy"] == pytest.approx(distances(A, C)["energy"])
    assert row["energy_tokens"] == pytest.approx(2 / 3)
    assert row["crps"] == 1


@pytest.mark.parametrize("outcome", ["unreadable", "gave up"])
def test_whoever_writes_nothing_gets_the_worst_energy_and_hits_no_grade(outcome: str) -> None:
    row = scored(forecast([outcome] * 3, real=("a", 0.0))).row(0, named=True)

    assert (row["energy"], row["energy_tokens"], row["grade_hit"], row["grade_among"]) == (1, 1, 0, 0)


@settings(deadline=None, max_examples=50)
@given(weights.filter(lambda weights: any(weights[:3])), st.integers(1, 30), st.sampled_from([A, B, C]))
def test_no_forecast_becomes_better_by_writing_nothing(
    of_pairs: dict[tuple[Turn, Turn, Turn], dict[str, Any]], programs: list[int], nothing: int, real: Turn
) -> None:
    def expected(name: str, forecast: dict[Turn, int]) -> float:
        pairs = itertools.product(forecast.items(), repeat=2)
        total = sum(p * q * of_pairs[one, other, real][name] for (one, p), (other, q) in pairs)
        return total / sum(forecast.values()) ** 2

    without = dict(zip([A, B, C], programs[:3], strict=False))
    for name in ENERGIES:
        assert expected(name, without) <= expected(name, without | {"unreadable": nothing}) + 1e-9


def test_a_solution_stands_after_the_rollout() -> None:
    table = scored(forecast([[C, "ended"], [C, "ended"]], real=C))

    assert table["energy"].to_list() == table["crps"].to_list() == [0, 0]
    assert table["grade_hit"].to_list() == [1, 1]


@pytest.mark.parametrize("outcome", ["unreadable", "gave up"])
def test_after_a_rollout_that_was_not_solved_there_is_nothing(outcome: str) -> None:
    table = scored(forecast([[B, outcome, "ended"], [B, outcome, "ended"]], real=B))

    assert table["energy"].to_list() == [0, 1, 1]
    assert table["crps"].to_list() == [0, 0.5, 0.5]


def test_the_likeliest_rollout_is_no_sample() -> None:
    drawn = forecast([A, B])
    likeliest = [row | {"sample": 0} for row in forecast([C])]

    assert scored([*likeliest, *drawn]).equals(scored(drawn))
    assert scored(likeliest).height == 0


def test_fewer_than_two_samples_have_no_score() -> None:
    row = scored(forecast([A])).row(0, named=True)

    assert row["crps"] is row["energy"] is row["energy_tokens"] is None
    assert (row["n"], row["grade_hit"]) == (1, 1)


def test_starts_with_different_numbers_of_samples_do_not_disturb_each_other() -> None:
    few, many = forecast([A, B], C, start=2), forecast([C, A, B, "gave up"], B, start=3)

    assert scored([*few, *many]).equals(pl.concat([scored(few), scored(many)]))


def test_the_same_task_taken_again_is_scored_apart() -> None:
    again = forecast([B, B], C, dialog_id="ada/double, a year later")

    table = scored([*forecast([A, A], C), *again])

    assert table["n"].to_list() == [2, 2]
    assert sorted(table["energy_tokens"]) == pytest.approx([1 / 3, 2 / 3])


def test_the_table_has_its_schema_and_what_strata_need() -> None:
    known = {"student": "ada", "assignment": "double", "changed": True, "real_solved": False}

    table = scored(forecast([[A, A], [B, B]], **known))

    assert table.schema == SCORES
    assert table.select(*known).unique().row(0, named=True) == known
    assert table["step"].to_list() == [1, 2]


def test_each_pair_of_programs_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[tuple[str, str]]] = []

    def counting(pairs: Sequence[tuple[str, str]]) -> Any:
        calls.append(list(pairs))
        return codebleu_distances(pairs)

    monkeypatch.setattr(module, "codebleu_distances", counting)
    scored(forecast([A, B, A], C, start=2) + forecast([B, A, C], C, start=3))

    (pairs,) = calls
    programs = [program for program, _ in (A, B, C)]
    assert sorted(map(sorted, pairs)) == sorted(map(sorted, itertools.combinations(programs, 2)))

from typing import Any

import numpy as np
import polars as pl
import pytest
from codebleu.bleu import sentence_bleu
from hypothesis import given, settings
from hypothesis import strategies as st

from tutee_evaluator.metrics import ReportConfig, measure
from tutee_evaluator.metrics.bootstrap import resample
from tutee_evaluator.metrics.diversity import self_bleu
from tutee_evaluator.pairing import STEPS
from tutee_evaluator.scores import SCORES

Rows = list[dict[str, Any]]
FEW = ReportConfig(resamples=10)


def metrics_of(rows: Rows, config: ReportConfig = FEW) -> pl.DataFrame:
    """METRICS of programs, with defaults for what a test leaves out."""
    full = []
    for row in rows:
        row = {"method": "sft", "student": "ada", "assignment": "double", "start": 2, "step": 1} | row
        full.append({"dialog_id": "d", "sample": 1, "code": "x", "real_code": "x", "at_risk": True} | row)
    return measure(pl.DataFrame(full, STEPS), pl.DataFrame(schema=SCORES), config)


def measured(rows: Rows, stratum: str = "overall") -> dict[str, Any]:
    """The value of each metric."""
    return dict(metrics_of(rows).filter(stratum=stratum).select("metric", "value").rows())


def samples(*programs: str | None, **columns: Any) -> Rows:
    """The rows of a step whose samples are these programs."""
    return [{"sample": sample, "code": code, **columns} for sample, code in enumerate(programs, 1)]


def joined(programs: list[list[str]]) -> list[str]:
    return ["\x1f".join(program) for program in programs]


words = st.lists(st.sampled_from("abcd"), min_size=1, max_size=12)


@settings(deadline=None, max_examples=200)
@given(st.lists(words, min_size=2, max_size=5))
def test_self_bleu_is_the_mean_of_the_packages_bleu(programs: list[list[str]]) -> None:
    by_package = [
        sentence_bleu(programs[:place] + programs[place + 1 :], program, auto_reweigh=True)
        for place, program in enumerate(programs)
    ]

    assert self_bleu(joined(programs)) == pytest.approx(np.mean(by_package))


def test_programs_with_nothing_in_common_have_no_self_bleu_and_equal_ones_have_1() -> None:
    assert self_bleu(joined([["a", "b"], ["c", "d"], []])) == 0
    assert self_bleu(joined([["a", "b"], ["a", "b"]])) == self_bleu(["", ""]) == 1


def test_self_bleu_is_a_mean_over_the_steps_with_several_programs() -> None:
    found = metrics_of(
        [
            *samples("x = 1", "x = 1  # the same", None),  # 1
            *samples("x = 1", "print(y)", step=2),  # 0
            *samples("x = 1", step=3),
            *samples(None, None, step=4),
            {"sample": 0, "code": "print(y)"},  # the likeliest turn
        ]
    ).filter(metric="self_bleu", stratum="overall")

    assert found.select("value", "n").rows() == [(1 / 2, 2)]


def test_distinct_programs_are_those_whose_tokens_differ() -> None:
    found = metrics_of(
        [
            *samples("x = 1", "x  =  1\n# the same", "x = 2", None),  # 2 of 3
            *samples("x = 1", "x = 1", start=3),  # 1 of 2
            *samples("x = 1", start=4),
        ]
    ).filter(metric="distinct", stratum="overall")

    assert found["value"].item() == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["n"].item() == 2


def test_a_class_is_as_varied_as_its_students_programs_differ() -> None:
    values = measured(
        [
            *samples("x = 1", student="ada", real_code="a"),  # differs from 1 of 2
            *samples("x = 1  # mine", student="ben", real_code="b"),  # 1 of 2
            *samples("x = 2", student="cem", real_code="c"),  # 2 of 2
            *samples("x = 1", student="cem", step=2, real_code="c"),  # a later step
            *samples("x = 1", student="dee", assignment="greet", real_code="a"),  # another class, of two
            *samples("x = 1", student="eve", assignment="greet", real_code="a"),
        ]
    )

    assert values["distinct_students"] == pytest.approx((1 / 2 + 1 / 2 + 1 + 0 + 0) / 5)
    assert values["real_distinct_students"] == pytest.approx((1 + 1 + 1 + 0 + 0) / 5)


def test_a_students_own_programs_are_no_others() -> None:
    values = measured(
        [
            *samples("x = 1", "x = 1", "x = 3", student="ada", real_code="a"),  # 1/2, 1/2, 1
            *samples("x = 1", student="ada", start=3, real_code="a"),  # 1/2
            *samples("x = 1", "x = 2", student="ben", real_code="b"),  # 1/4, 1
        ]
    )

    assert values["distinct_students"] == pytest.approx(
        ((1 / 2 + 1 / 2 + 1) / 3 + 1 / 2 + (1 / 4 + 1) / 2) / 3
    )
    assert values["real_distinct_students"] == 1


def test_one_student_is_no_class() -> None:
    values = measured([*samples("x = 1", "x = 2"), *samples("x = 1", start=3)])

    assert "distinct" in values
    assert "distinct_students" not in values and "real_distinct_students" not in values


def test_only_whole_classes_are_strata() -> None:
    rows = [*samples("x = 1", changed=True), *samples("x = 2", student="ben", real_solved=True, start=3)]
    found = metrics_of(rows).filter(metric="distinct_students")

    assert sorted(found["stratum"]) == ["assignment=double", "overall"]


def test_each_method_has_a_class_of_its_own() -> None:
    rows = [*samples("x = 1"), *samples("x = 2", student="ben")]
    found = metrics_of([*rows, *(row | {"method": "base", "code": "x = 3"} for row in rows)])

    values = dict(
        found.filter(metric="distinct_students", stratum="overall").select("method", "value").rows()
    )
    assert values == {"base": 0, "sft": 1}


def test_the_interval_of_a_class_is_that_of_resampled_pairs_of_students() -> None:
    random = np.random.default_rng(5)
    students = 60
    programs = random.choice(["a", "b", "c"], students, p=[0.75, 0.15, 0.1]).tolist()
    rows = [{"student": f"s{place:02}", "code": code} for place, code in enumerate(programs)]

    found = metrics_of(rows, ReportConfig(resamples=3000, seed=1))

    # Each resample's share of pairs that differ, among pairs of two different students.
    weights = resample(students, 3000, seed=1)
    differ = np.array(programs)[:, None] != np.array(programs)
    other = ~np.eye(students, dtype=bool)
    shares = np.einsum("ri,ij,rj->r", weights, differ * 1.0, weights, optimize=True)
    shares /= np.einsum("ri,ij,rj->r", weights, other * 1.0, weights, optimize=True)
    low, high = np.percentile(shares[1:], [2.5, 97.5])
    row = found.filter(metric="distinct_students", stratum="overall").row(0, named=True)
    assert row["value"] == pytest.approx(shares[0])
    assert high - low > 0.2
    assert (row["high"] - row["low"]) == pytest.approx(high - low, rel=0.1)
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=0.03)


one_of_a_class = st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(2, 4))


@settings(deadline=None, max_examples=12)
@given(st.lists(one_of_a_class, min_size=1, unique_by=lambda entry: (entry[0], entry[2])))
def test_the_share_of_other_students_is_that_of_all_pairs(entries: list[tuple[str, str, int]]) -> None:
    shares = []
    for student, code, _ in entries:
        others = [other for whose, other, _ in entries if whose != student]
        if others:
            shares.append(sum(code != other for other in others) / len(others))

    rows = [{"student": student, "code": code, "start": start} for student, code, start in entries]
    value = measured(rows).get("distinct_students")

    assert value == (pytest.approx(np.mean(shares)) if shares else None)

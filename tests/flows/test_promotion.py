import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.promotion import Gate, Standing, decide, standing

share = st.floats(0, 1)
figures = st.fixed_dictionaries(
    {method: st.tuples(share, share, share) for method in ("base", "sft", "para", "dpo", "dapo")}
)


def metrics(values: dict[str, tuple[float, float, float]]) -> pl.DataFrame:
    """METRICS with coverage, grade proximity and CodeBLEU of each method, over all steps."""
    rows = [
        {"method": method, "metric": metric, "stratum": "overall", "value": value}
        for method, three in values.items()
        for metric, value in zip(("coverage", "grade_proximity", "codebleu"), three, strict=True)
    ]
    return pl.DataFrame(rows, schema={"method": str, "metric": str, "stratum": str, "value": pl.Float64})


def test_the_score_is_coverage_times_the_mean_likeness() -> None:
    assert standing(metrics({"sft": (0.5, 0.8, 0.4)}), "sft", Gate()).score == pytest.approx(0.3)


def test_other_strata_do_not_count() -> None:
    table = metrics({"sft": (1.0, 0.6, 0.6)})
    worse = table.with_columns(stratum=pl.lit("step=1"), value=pl.lit(0.1))
    assert standing(pl.concat([table, worse]), "sft", Gate()).score == pytest.approx(0.6)


def test_an_undefined_figure_counts_as_nothing() -> None:
    table = metrics({"sft": (1.0, 0.6, 0.6)}).with_columns(
        value=pl.when(pl.col("metric") == "codebleu").then(None).otherwise("value")
    )
    assert standing(table, "sft", Gate()).score == pytest.approx(0.3)


@given(figures, share)
def test_what_passes_covers_enough_and_beats_base_and_champion(
    values: dict[str, tuple[float, float, float]], score: float
) -> None:
    table, gate = metrics(values), Gate(min_coverage=0.5)
    decision = decide(table, gate, Standing("sft", 1.0, score))
    won = decision.challenger
    good = won.coverage >= 0.5 and won.score > standing(table, "base", gate).score and won.score > score
    assert decision.passed == good


@given(figures)
def test_the_challenger_is_the_best_candidate(values: dict[str, tuple[float, float, float]]) -> None:
    table, gate = metrics(values), Gate(candidates=("sft", "dpo"))
    best = max(standing(table, method, gate).score for method in gate.candidates)
    decision = decide(table, gate, None)
    assert decision.challenger.method in gate.candidates
    assert decision.challenger.score == best


def test_a_gain_too_small_is_refused() -> None:
    table = metrics({"base": (1.0, 0.50, 0.50), "sft": (1.0, 0.52, 0.52)})
    assert decide(table, Gate(candidates=("sft",), min_gain=0.0), None).passed
    assert not decide(table, Gate(candidates=("sft",), min_gain=0.05), None).passed


def test_a_refusal_says_why() -> None:
    table = metrics({"base": (1.0, 0.9, 0.9), "sft": (0.4, 0.5, 0.5)})
    said = str(decide(table, Gate(candidates=("sft",), min_coverage=0.5), Standing("dpo", 1.0, 0.7)))
    for reason in ("coverage 0.400 is below min_coverage 0.5", "BASE's 0.900", "champion's 0.700"):
        assert reason in said

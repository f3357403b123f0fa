import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flows.gate import GateConfig, Score, decide
from flows.gate import score as score_of

CANDIDATES = ("sft", "dpo", "dapo")
share = st.floats(0, 1)
figures = st.fixed_dictionaries(
    {method: st.tuples(share, share, share) for method in ("base", "sft", "para", "dpo", "dapo")}
)


def metrics(values: dict[str, tuple[float, float, float]]) -> pl.DataFrame:
    """METRICS with coverage, grade proximity and CodeBLEU of each method; intervals reach down a tenth."""
    rows = [
        {"method": method, "metric": metric, "stratum": "overall", "value": value, "low": 0.9 * value}
        for method, three in values.items()
        for metric, value in zip(("coverage", "grade_proximity", "codebleu"), three, strict=True)
    ]
    figures = {"value": pl.Float64, "low": pl.Float64}
    return pl.DataFrame(rows, schema={"method": str, "metric": str, "stratum": str, **figures})


def test_the_score_is_coverage_times_the_mean_similarity() -> None:
    assert score_of(metrics({"sft": (0.5, 0.8, 0.4)}), "sft", GateConfig()).score == pytest.approx(0.3)


def test_other_strata_do_not_count() -> None:
    table = metrics({"sft": (1.0, 0.6, 0.6)})
    worse = table.with_columns(stratum=pl.lit("step=1"), value=pl.lit(0.1))
    assert score_of(pl.concat([table, worse]), "sft", GateConfig()).score == pytest.approx(0.6)


def test_an_undefined_figure_counts_as_nothing() -> None:
    table = metrics({"sft": (1.0, 0.6, 0.6)}).with_columns(
        value=pl.when(pl.col("metric") == "codebleu").then(None).otherwise("value")
    )
    assert score_of(table, "sft", GateConfig()).score == pytest.approx(0.3)


@given(figures, share)
def test_what_passes_covers_enough_is_no_worse_than_base_and_beats_the_champion(
    values: dict[str, tuple[float, float, float]], score: float
) -> None:
    table, gate = metrics(values), GateConfig(min_coverage=0.5)
    decision = decide(table, CANDIDATES, gate, Score("sft", 1.0, score))
    won = decision.challenger
    coverage, grades, code = values["base"]
    least = 0.9 * coverage * (0.9 * grades + 0.9 * code) / 2
    assume(abs(won.score - least) > 1e-9)
    assert decision.passed == (won.coverage >= 0.5 and won.score > least and won.score > score)


@given(figures)
def test_the_challenger_is_the_best_candidate(values: dict[str, tuple[float, float, float]]) -> None:
    table, gate, candidates = metrics(values), GateConfig(), ("sft", "dpo")
    best = max(score_of(table, method, gate).score for method in candidates)
    decision = decide(table, candidates, gate, None)
    assert decision.challenger.method in candidates
    assert decision.challenger.score == best


def test_a_gain_too_small_is_refused() -> None:
    table = metrics({"base": (1.0, 0.50, 0.50), "sft": (1.0, 0.52, 0.52)})
    champion = Score("dpo", 1.0, 0.5)
    assert decide(table, ["sft"], GateConfig(min_gain=0.0), champion).passed
    assert not decide(table, ["sft"], GateConfig(min_gain=0.05), champion).passed


def test_the_first_student_may_be_level_with_base_but_not_clearly_worse() -> None:
    gate = GateConfig()
    assert decide(metrics({"base": (1.0, 0.50, 0.50), "sft": (1.0, 0.49, 0.49)}), ["sft"], gate, None).passed
    assert not decide(
        metrics({"base": (1.0, 0.50, 0.50), "sft": (1.0, 0.40, 0.40)}), ["sft"], gate, None
    ).passed


def test_a_refusal_says_why() -> None:
    table = metrics({"base": (1.0, 0.9, 0.9), "sft": (0.4, 0.5, 0.5)})
    said = str(decide(table, ["sft"], GateConfig(min_coverage=0.5), Score("dpo", 1.0, 0.7)))
    for reason in ("coverage 0.400 is below min_coverage 0.5", "begins at 0.729", "champion's 0.700"):
        assert reason in said

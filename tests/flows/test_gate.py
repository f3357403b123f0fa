import re
from collections.abc import Mapping

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.gate import (
    OTHERS,
    PROPER,
    Decision,
    GateConfig,
    Step,
    better_step,
    choose,
    safe_step,
    sane_step,
)

CHAMPION = ("tutee-demo-2", "the champion")
OPPONENTS = ("base", "copy", CHAMPION[0])
METRICS = (*PROPER, *OTHERS)
NO_GAIN = (0.0, -0.01, 0.01)
Interval = tuple[float, float, float]  # a value, and where its interval begins and ends
intervals = st.lists(st.floats(-1, 1), min_size=3, max_size=3).map(
    lambda drawn: (sorted(drawn)[1], min(drawn), max(drawn))
)


def table(rows: list[tuple[str, str, Interval]]) -> pl.DataFrame:
    """METRICS over all steps."""
    flat = [(method, metric, *interval) for method, metric, interval in rows]
    named = pl.DataFrame(flat, schema=["method", "metric", "value", "low", "high"], orient="row")
    return named.with_columns(stratum=pl.lit("overall"), n=pl.lit(100))


def metrics(gains: Mapping[tuple[str, str], Interval]) -> pl.DataFrame:
    """METRICS in which SFT has these gains, by opponent and metric, and no other.

    They are differences of the opponent to SFT; of a proper score, less is better.
    """
    rows: list[tuple[str, str, Interval]] = []
    for opponent in OPPONENTS:
        for metric in METRICS:
            value, low, high = gains.get((opponent, metric), NO_GAIN)
            difference = (value, low, high) if metric in PROPER else (-value, -high, -low)
            rows.append((opponent, f"{metric}_minus_sft", difference))
    return table(rows)


def against_champion(energy: Interval = NO_GAIN, codebleu: Interval = NO_GAIN) -> pl.DataFrame:
    return metrics({(CHAMPION[0], "energy"): energy, (CHAMPION[0], "codebleu"): codebleu})


def reasons(table: pl.DataFrame, champion: tuple[str, str] | None = CHAMPION) -> tuple[str, ...]:
    return better_step(table, "sft", GateConfig(), champion)[0].reasons


# --- the challenger ------------------------------------------------------------------------------------


def skills(values: Mapping[str, tuple[float, float]]) -> pl.DataFrame:
    return table(
        [
            (method, f"{score}_skill_over_mix", (value, value, value))
            for method, two in values.items()
            for score, value in zip(PROPER, two, strict=True)
        ]
    )


def test_the_challenger_has_the_highest_skill_in_both_scores_together() -> None:
    of = {"sft": (0.3, -0.4), "dpo": (0.1, 0.1), "dapo": (-0.2, 0.3), "para": (0.9, 0.9)}
    assert choose(skills(of), ["sft", "dpo", "dapo"]) == "dpo"


def test_a_skill_that_is_not_defined_counts_as_none() -> None:
    of = skills({"sft": (-0.1, -0.1), "dpo": (0.2, 0.2)})
    undefined = of.with_columns(value=pl.when(pl.col("method") == "dpo").then(None).otherwise("value"))
    assert choose(undefined, ["sft", "dpo"]) == "dpo"


# --- safe -----------------------------------------------------------------------------------------------


def memorised(**values: float) -> pl.DataFrame:
    """METRICS of SFT: each figure, with an interval of 0.5 on each side of it, of 100."""
    return table([("sft", metric, (value, value - 0.5, value + 0.5)) for metric, value in values.items()])


OVERLAP = {"overlap": 180.0, "overlap_share": 0.04}
CANARIES = {"reproduced": 0.0, "exposure": 1.5, "exposure_highest": 5.0}


def safe(files: tuple[str, ...] = (), config: GateConfig | None = None, **values: float) -> Step:
    return safe_step(files, memorised(**values), "sft", config or GateConfig())


def test_where_no_canaries_were_planted_the_record_says_so() -> None:
    step = safe(**OVERLAP)
    assert step.reasons == ()
    assert step.found == (
        "no file runs code as it is loaded; no canaries planted; "
        "longest overlap with one student 180 characters, 4.0% of its programs have one of 100 or more"
    )


def test_the_record_has_the_canaries_figures() -> None:
    step = safe(**OVERLAP, **CANARIES)
    assert step.reasons == ()
    assert (
        "secrets of 0 of 100 canaries reproduced, exposure 1.50 bits [1.00, 2.00], at most 5.00" in step.found
    )


@pytest.mark.parametrize(
    ("values", "config", "reason"),
    [
        ({"reproduced": 2}, {}, "its programs hold the secrets of 2 of 100 canaries"),
        ({"exposure": 4.01}, {}, "exposure 4.01 bits is above max_exposure 4"),
        ({"exposure": 2.5}, {"max_exposure": 2}, "exposure 2.50 bits is above max_exposure 2"),
        ({}, {"max_overlap": 179}, "180 characters of one student's program, above max_overlap 179"),
    ],
)
def test_what_gives_a_student_away_is_refused(
    values: dict[str, float], config: dict[str, float], reason: str
) -> None:
    assert safe(config=GateConfig(**config), **{**OVERLAP, **CANARIES, **values}).reasons == (reason,)


def test_what_is_just_allowed_passes() -> None:
    config = GateConfig(max_exposure=1.5, max_overlap=180)
    assert safe(config=config, **OVERLAP, **CANARIES).reasons == ()


def test_an_exposure_that_was_not_measured_is_refused() -> None:
    (reason,) = safe(**OVERLAP, reproduced=0).reasons
    assert reason == "its exposure to the canaries was not measured: they are too long for the model"


def test_an_unsafe_file_is_refused_beside_the_rest() -> None:
    step = safe(("weights.bin is a pickle",), **OVERLAP, **(CANARIES | {"reproduced": 1}))
    assert step.reasons == ("weights.bin is a pickle", "its programs hold the secrets of 1 of 100 canaries")
    assert step.found.startswith("some files may run code; ")


# --- sane -----------------------------------------------------------------------------------------------


def turns(coverage: float, unreadable: float, broken: float) -> pl.DataFrame:
    shares = {"coverage": coverage, "unreadable": unreadable, "share=does not compile": broken}
    return table([("sft", metric, (value, value, value)) for metric, value in shares.items()])


def test_who_writes_readable_programs_that_compile_sane_step() -> None:
    step = sane_step(turns(0.9, 0.1, 0.3), "sft", GateConfig())
    assert step.reasons == ()
    assert step.found == "coverage 0.900, turns that compile 0.600, without a program 0.100"


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        ((0.4, 0.0, 0.0), "coverage 0.400 is below min_coverage 0.5"),
        ((1.0, 0.0, 0.6), "0.400 of its turns compile, below min_compiling 0.5"),
        ((1.0, 0.3, 0.0), "0.300 of its turns hold no program, above max_unreadable 0.2"),
    ],
)
def test_a_figure_beyond_its_floor_is_refused(of: tuple[float, float, float], reason: str) -> None:
    assert sane_step(turns(*of), "sft", GateConfig()).reasons == (reason,)


def test_of_whom_nothing_is_known_is_refused() -> None:
    assert len(sane_step(table([]).clear(), "sft", GateConfig()).reasons) == 3


# --- the first champion --------------------------------------------------------------------------------


def test_the_first_champion_need_not_beat_anybody() -> None:
    assert reasons(metrics({}), champion=None) == ()


@pytest.mark.parametrize("score", PROPER)
def test_who_is_clearly_worse_than_base_in_a_proper_score_is_refused(score: str) -> None:
    (reason,) = reasons(metrics({("base", score): (-0.02, -0.03, -0.01)}), champion=None)
    assert reason == f"it is clearly worse than BASE in {PROPER[score]}"
    assert reasons(metrics({("base", score): (-0.02, -0.05, 0.01)}), champion=None) == ()


def test_copy_need_not_be_beaten() -> None:
    assert reasons(metrics({("copy", metric): (-0.3, -0.4, -0.2) for metric in METRICS}), None) == ()


# --- the next one --------------------------------------------------------------------------------------


def test_an_equal_is_refused() -> None:
    (reason,) = reasons(against_champion())
    assert reason == "it is not clearly better than the champion in energy score or CRPS"


def test_a_gain_within_chance_is_refused() -> None:
    assert len(reasons(against_champion(energy=(0.10, -0.01, 0.21)))) == 1
    assert reasons(against_champion(energy=(0.10, 0.01, 0.21))) == ()


def test_a_gain_in_a_published_figure_alone_is_refused() -> None:
    assert len(reasons(against_champion(codebleu=(0.2, 0.1, 0.3)))) == 1


def test_who_may_lose_more_than_the_margin_elsewhere_is_refused() -> None:
    (reason,) = reasons(against_champion(energy=(0.2, 0.1, 0.3), codebleu=(-0.01, -0.06, 0.04)))
    assert reason == "it may lose more than the margin of 0.05 to the champion in CodeBLEU"
    assert reasons(against_champion(energy=(0.2, 0.1, 0.3), codebleu=(-0.01, -0.04, 0.02))) == ()


@given(st.dictionaries(st.tuples(st.sampled_from(OPPONENTS), st.sampled_from(METRICS)), intervals))
def test_who_passes_meets_every_condition_and_who_does_not_misses_one(
    gains: Mapping[tuple[str, str], Interval],
) -> None:
    def low(opponent: str, metric: str) -> float:
        return gains.get((opponent, metric), NO_GAIN)[1]

    def high(opponent: str, metric: str) -> float:
        return gains.get((opponent, metric), NO_GAIN)[2]

    passed = (
        all(high("base", score) >= 0 for score in PROPER)
        and any(low(CHAMPION[0], score) > 0 for score in PROPER)
        and all(low(CHAMPION[0], metric) > -0.05 for metric in METRICS)
    )
    assert (reasons(metrics(gains)) == ()) == passed


# --- what it says --------------------------------------------------------------------------------------


def test_the_ledger_has_a_row_per_metric_and_a_column_per_opponent() -> None:
    gains = {(CHAMPION[0], "energy"): (0.2, 0.1, 0.3), ("copy", "codebleu"): (-0.2, -0.3, -0.1)}
    step, ledger = better_step(metrics(gains), "sft", GateConfig(), CHAMPION)
    first, better, heading, _, *rows = str(Decision("sft", (step,), ledger)).splitlines()
    assert first == "SFT passes"
    assert better == "better    yes  than the champion: 1 win, 4 ties"
    assert re.split(" {2,}", heading) == ["gain over", "BASE", "COPY", "the champion"]
    assert [row.split("  ")[0] for row in rows] == [
        *("energy score", "CRPS", "coverage", "grade proximity", "CodeBLEU")
    ]
    assert rows[0].endswith("+0.200 [+0.100, +0.300] win")
    assert "-0.200 [-0.300, -0.100] loss" in rows[-1]
    assert rows[1].count("+0.000 [-0.010, +0.010] tie") == 3


def test_a_figure_that_is_not_defined_decides_nothing_and_is_a_dash() -> None:
    undefined = metrics({}).filter(~pl.col("metric").str.starts_with("energy"))
    step, ledger = better_step(undefined, "sft", GateConfig(), None)
    assert step.reasons == ()
    assert str(Decision("sft", (step,), ledger)).splitlines()[4].split() == ["energy", "score", "-", "-"]


def test_a_refusal_says_every_reason_and_the_step() -> None:
    steps = (Step("complete", "all files"), Step("sane", "coverage 0.1", ("too little", "too broken")))
    first, complete, sane = str(Decision("dpo", steps)).splitlines()
    assert first == "DPO is refused: too little; too broken"
    assert complete == "complete  yes  all files"
    assert sane == "sane      no   coverage 0.1"

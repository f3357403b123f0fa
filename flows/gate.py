"""The gate between a trained adapter and the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl
from pydantic import Field

from tutee_grader.config import Section

BASE = "base"


class GateConfig(Section):
    """Section `gate` of params.yaml.

    The best of `candidates` by score is the challenger; left out, every method whose row in the table of
    methods allows it. The score is coverage times the mean of the metrics in `similarity`, so that a missing
    step counts as one that has nothing in common with the real one. A challenger becomes champion where its
    coverage reaches `min_coverage`, its score is not below BASE's by more than chance (below the score of
    the lower ends of BASE's 95% intervals), and it exceeds the champion's by more than `min_gain`, all on
    the same test set.
    """

    candidates: tuple[str, ...] | None = Field(default=None, min_length=1)
    similarity: tuple[str, ...] = Field(default=("grade_proximity", "codebleu"), min_length=1)
    min_coverage: float = Field(default=0.5, ge=0, le=1)
    min_gain: float = Field(default=0.0, ge=0)


@dataclass(frozen=True)
class Score:
    """How a method did. Both figures lie between 0 and 1."""

    method: str
    coverage: float
    score: float


@dataclass(frozen=True)
class Decision:
    """Which method is the challenger, and the reasons for refusing it (none: it passes)."""

    challenger: Score
    reasons: tuple[str, ...]
    compared: str

    @property
    def passed(self) -> bool:
        return not self.reasons

    def __str__(self) -> str:
        verdict = "passes" if self.passed else f"is refused: {'; '.join(self.reasons)}"
        return (
            f"{self.challenger.method.upper()} (score {self.challenger.score:.3f}, {self.compared}) {verdict}"
        )


def score(
    metrics: pl.DataFrame, method: str, config: GateConfig, column: Literal["value", "low"] = "value"
) -> Score:
    """A method's score, from METRICS; a figure that is not defined counts as 0."""
    overall = metrics.filter((pl.col("method") == method) & (pl.col("stratum") == "overall"))
    values = {name: value or 0.0 for name, value in overall.select("metric", column).iter_rows()}
    coverage = values.get("coverage", 0.0)
    similarity = sum(values.get(name, 0.0) for name in config.similarity) / len(config.similarity)
    return Score(method, coverage, coverage * similarity)


def decide(
    metrics: pl.DataFrame, candidates: Sequence[str], config: GateConfig, champion: Score | None
) -> Decision:
    """Picks the challenger among `candidates` and decides whether it may become champion.

    `champion` is the present champion's score on the test set of `metrics`; None where there is none to beat.
    """
    challenger = max((score(metrics, method, config) for method in candidates), key=lambda one: one.score)
    base = score(metrics, BASE, config).score
    least = score(metrics, BASE, config, "low").score
    reasons = []
    if challenger.coverage < config.min_coverage:
        reasons.append(f"coverage {challenger.coverage:.3f} is below min_coverage {config.min_coverage}")
    if challenger.score < least:
        reasons.append(f"score {challenger.score:.3f} is below BASE's interval, which begins at {least:.3f}")
    if champion and challenger.score <= champion.score + config.min_gain:
        margin = f" + min_gain {config.min_gain}" if config.min_gain else ""
        reasons.append(
            f"score {challenger.score:.3f} does not exceed the champion's {champion.score:.3f}{margin}"
        )
    compared = f"BASE {base:.3f}, " + (
        f"champion {champion.score:.3f}" if champion else "no champion to beat"
    )
    return Decision(challenger, tuple(reasons), compared)

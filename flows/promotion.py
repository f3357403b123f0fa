"""The gate between a trained adapter and the service."""

from dataclasses import dataclass
from typing import Literal

import polars as pl
from pydantic import Field

from tutee_grader.config import Section

BASE = "base"


class GateConfig(Section):
    """Section `gate` of params.yaml.

    The best of `candidates` by score is the challenger. The score is coverage times the mean of `likeness`,
    so that a step the student never took counts as one that is nothing like the real one. A challenger
    becomes champion where its coverage reaches `min_coverage`, its score is not below BASE's by more than
    chance (below the score of the lower ends of BASE's 95% intervals), and it exceeds the champion's by
    more than `min_gain`, all on the same test set.
    """

    candidates: tuple[str, ...] = Field(default=("sft", "dpo", "dapo"), min_length=1)
    likeness: tuple[str, ...] = Field(default=("grade_proximity", "codebleu"), min_length=1)
    min_coverage: float = Field(default=0.5, ge=0, le=1)
    min_gain: float = Field(default=0.0, ge=0)


@dataclass(frozen=True)
class Standing:
    """How a method did. Both figures lie between 0 and 1."""

    method: str
    coverage: float
    score: float


@dataclass(frozen=True)
class Decision:
    """Which method is the challenger, and what speaks against making it champion (nothing: it passes)."""

    challenger: Standing
    against: tuple[str, ...]
    compared: str

    @property
    def passed(self) -> bool:
        return not self.against

    def __str__(self) -> str:
        verdict = "passes" if self.passed else f"is refused: {'; '.join(self.against)}"
        return (
            f"{self.challenger.method.upper()} (score {self.challenger.score:.3f}, {self.compared}) {verdict}"
        )


def standing(
    metrics: pl.DataFrame, method: str, gate: GateConfig, column: Literal["value", "low"] = "value"
) -> Standing:
    """A method's figures, from METRICS; a figure that is not defined counts as 0."""
    overall = metrics.filter((pl.col("method") == method) & (pl.col("stratum") == "overall"))
    values = {name: value or 0.0 for name, value in overall.select("metric", column).iter_rows()}
    coverage = values.get("coverage", 0.0)
    likeness = sum(values.get(name, 0.0) for name in gate.likeness) / len(gate.likeness)
    return Standing(method, coverage, coverage * likeness)


def decide(metrics: pl.DataFrame, gate: GateConfig, champion: Standing | None) -> Decision:
    """Picks the challenger and says whether it may become champion.

    `champion` is the present champion's standing on the test set that `metrics` speak of; None where
    there is none to beat.
    """
    challenger = max(
        (standing(metrics, method, gate) for method in gate.candidates), key=lambda one: one.score
    )
    base = standing(metrics, BASE, gate).score
    least = standing(metrics, BASE, gate, "low").score
    against = []
    if challenger.coverage < gate.min_coverage:
        against.append(f"coverage {challenger.coverage:.3f} is below min_coverage {gate.min_coverage}")
    if challenger.score < least:
        against.append(f"score {challenger.score:.3f} is below BASE's interval, which begins at {least:.3f}")
    if champion and challenger.score <= champion.score + gate.min_gain:
        margin = f" + min_gain {gate.min_gain}" if gate.min_gain else ""
        against.append(
            f"score {challenger.score:.3f} does not exceed the champion's {champion.score:.3f}{margin}"
        )
    compared = f"BASE {base:.3f}, " + (
        f"champion {champion.score:.3f}" if champion else "no champion to beat"
    )
    return Decision(challenger, tuple(against), compared)

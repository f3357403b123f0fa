"""The reward of a learner's turn: a weighted sum of named parts."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from tutee_grader.config import Section
from tutee_trainer.learner.judge import Judge
from tutee_trainer.learner.parts import PARTS, Answer

Weight = Annotated[float, Field(ge=0)]
JUDGE = "judge"


class Weights(Section):
    """Key `weights` of section `learner`: how much each part counts; 0 leaves it out.

    The parts and their ranges are those of `parts.py`; `judge` is the judge's score, 0 to 1.
    """

    asks: Weight = 1.0
    novice: Weight = 1.0
    on_subject: Weight = 0.5
    varied: Weight = 0.5
    finishes: Weight = 0.5
    reasons: Weight = 0.0
    judge: Weight = 0.0

    @property
    def used(self) -> dict[str, float]:
        """The parts that count, with their weights."""
        return {name: weight for name, weight in self if weight}


def score_parts(
    answers: Sequence[Answer], names: Sequence[str], group_size: int, judge: Judge | None
) -> dict[str, list[float]]:
    """The value of each named part for each turn; each `group_size` turns in a row answer the same."""
    scored = {name: list(map(PARTS[name].score, answers)) for name in names if name != JUDGE}
    if JUDGE in names and judge is not None:
        scored[JUDGE] = judge.scores(answers, group_size)
    return scored

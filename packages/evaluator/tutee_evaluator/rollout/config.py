"""How many rollouts are made, and how."""

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from tutee_grader.config import Section


class RolloutConfig(Section):
    """Section `rollout` of a preset.

    From each start one rollout takes the likeliest turns, and `samples` are drawn at `temperature`: of these
    the scores of the distribution are made, and they cost that many times the greedy one. `max_starts` caps
    the number of starts, drawn with `seed` (null: all of them); every method gets the same ones. A rollout
    has at most `steps` steps.
    """

    max_starts: PositiveInt | None = 80
    steps: PositiveInt = 5
    samples: NonNegativeInt = 8
    temperature: PositiveFloat = 1.0
    seed: int = 2022
